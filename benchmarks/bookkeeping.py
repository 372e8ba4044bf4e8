"""The driver's own work an epoch, and the start of a study resumed, as trials grow in number.

    .venv/bin/python -m benchmarks.bookkeeping --trials 2000 --epochs 10

A search of trials that train nothing goes through journal, record, Optuna, ASHA and MLflow, and
Tune's calls are timed as the driver and the sampler meet them. Then the same study is opened
again, as `ucluster-tune resume` does it before the first trial starts.
"""

import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console
from rich.table import Table

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.search_space import published_point
from ucluster_tune.config.study import StudyConfig, TrackingConfig
from ucluster_tune.search.dashboard_stores import DashboardFile
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.events import StudyStarted
from ucluster_tune.search.journal import StudyJournal, read_events, read_record
from ucluster_tune.search.knowledge import judged_epochs, known_trials
from ucluster_tune.search.mirror import Bookkeeping
from ucluster_tune.search.paths import StudiesFolder, StudyPaths
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.search.tracked_study import study_mirror
from ucluster_tune.search.tracking import Tracker
from ucluster_tune.training.record import RECORD_FIELDS

N_PARTS = 4
NO_EPOCH: dict[str, Any] = dict.fromkeys(RECORD_FIELDS, 0.5) | {
    "phase": "clustering",
    "confusion": [[300, 20, 10], [15, 280, 30], [9, 40, 296]],
    "class_names": ["w", "z", "t"],
    "warnings": [],
}


class Stopwatch:
    """Adds up the time spent in Tune's calls, by trial."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time what is done inside."""
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)


def study(n_trials: int, n_epochs: int, jets: str = "/none") -> StudyConfig:
    """A search over two values."""
    return StudyConfig.model_validate(
        {
            "name": "bookkeeping",
            "data": {"path": jets},
            "training": {"n_epochs": n_epochs, "n_pretraining_epochs": 1},
            "search_space": {
                "training.learning_rate": {
                    "type": "float",
                    "low": 1e-4,
                    "high": 1e-2,
                    "log": True,
                },
                "model.n_neighbors": {"type": "int", "low": 4, "high": 20},
            },
            "scheduler": {"grace_period": 3, "reduction_factor": 3.0},
            "budget": {"n_trials": n_trials},
        }
    )


def run_trivial_trials(
    config: StudyConfig, paths: StudyPaths, folder: StudiesFolder, dataset_checksum: str = "0"
) -> tuple[list[float], list[float]]:
    """Return the seconds of each epoch report and of each new trial's suggestion."""
    tracker = Tracker.open(TrackingConfig(), folder.root)
    started = StudyStarted(
        name=paths.name,
        config=config.model_dump(mode="json"),
        code_version="0",
        dataset_checksum=dataset_checksum,
        tracking_uri=tracker.uri,
        experiment_id=tracker.experiment_id,
        seed=1,
        reference_accuracy=0.81,
    )
    reports, suggestions_s = Stopwatch(), Stopwatch()
    accuracy = random.Random(1)
    with StudyJournal(paths.record) as journal:
        journal.append(started)
        driver = StudyDriver(config, paths, journal, StudyRecord(started), [])
        books = Bookkeeping(driver.record, paths, driver.lock, driver.note, lambda _: None)
        mirror = study_mirror(config, books, folder, tracker)
        driver.trial_changed = mirror.trial_changed
        mirror.start()
        sampler, searcher, scheduler = opened(config, paths, driver)
        controller: Any = None
        number = 0
        while True:
            with suggestions_s.timed():
                suggested = searcher.suggest(f"t{number}")
            if suggested == Searcher.FINISHED:
                break
            assert isinstance(suggested, dict)
            trial: Any = SimpleNamespace(
                trial_id=f"t{number}", config=suggested, last_result={}, status="RUNNING"
            )
            scheduler.on_trial_add(controller, trial)
            driver.on_trial_start(0, [], trial)
            run_trial(trial, config, driver, searcher, scheduler, accuracy, reports)
            number += 1
        sampler.close()
        began = time.perf_counter()
        assert mirror.close(3600), mirror.last_failure
        Console().print(
            f"MLflow caught up {time.perf_counter() - began:.1f} s after the last trial"
        )
    return reports.seconds, suggestions_s.seconds[:-1]


def run_trial(
    trial: Any,
    config: StudyConfig,
    driver: StudyDriver,
    searcher: OptunaSuggestions,
    scheduler: TrialScheduler,
    accuracy: random.Random,
    reports: Stopwatch,
) -> None:
    """Tell a trial's epochs in the order of Tune's calls."""
    controller: Any = None
    level = accuracy.uniform(0.4, 0.8)
    for epoch in range(1, config.training.n_epochs + 1):
        value = level + accuracy.gauss(0, 0.02)
        result = NO_EPOCH | {"epoch": epoch, "clustering_accuracy": value}
        is_last = epoch == config.training.n_epochs
        with reports.timed():
            decision = TrialScheduler.STOP
            if not is_last:
                decision = scheduler.on_trial_result(controller, trial, result)
            if decision != TrialScheduler.STOP:
                searcher.on_trial_result(trial.trial_id, result)
            driver.on_trial_result(0, [], trial, result)
        if decision == TrialScheduler.STOP:
            searcher.on_trial_complete(trial.trial_id, result)
            scheduler.on_trial_complete(controller, trial, result)
            driver.on_trial_complete(0, [], trial)
            return


def opened(
    config: StudyConfig, paths: StudyPaths, driver: StudyDriver
) -> tuple[StudySampler, OptunaSuggestions, TrialScheduler]:
    """Return what a search asks, filled from the record as `resume` does it."""
    sampler = StudySampler(
        config,
        name=paths.name,
        published_point=published_point(config),
        dashboards=DashboardFile(paths.optuna_db, paths.name),
        known=known_trials(driver.record, config.objective),
    )
    searcher = OptunaSuggestions(
        sampler,
        config.objective,
        len(driver.record.trials),
        driver.may_begin,
        driver.begin_trial,
    )
    history = judged_epochs(read_events(paths.record), config.objective)
    return sampler, searcher, build_scheduler(config, history)


def seconds_to_resume(paths: StudyPaths) -> float:
    """Return the seconds from the record on the disk to the first new trial."""
    began = time.perf_counter()
    record = read_record(paths.record)
    config = study(len(record.trials) + 1, record.n_epochs)
    with StudyJournal(paths.record) as journal:
        driver = StudyDriver(config, paths, journal, record, [])
        driver.may_begin = lambda n_begun: n_begun <= len(record.trials)  # type: ignore[method-assign]  # one more trial
        _, searcher, _ = opened(config, paths, driver)
        assert isinstance(searcher.suggest("first"), dict)
    return time.perf_counter() - began


@click.command()
@click.option("--trials", "n_trials", default=2000, show_default=True, help="Trials of the study.")
@click.option("--epochs", "n_epochs", default=10, show_default=True, help="Epochs of a trial.")
def main(n_trials: int, n_epochs: int) -> None:
    """Print the times, and how they grow."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Optuna's thread writes
        folder = StudiesFolder(Path(name))
        paths = folder.study("bookkeeping")
        paths.trials.mkdir(parents=True)
        config = study(n_trials, n_epochs)
        paths.study_yaml.write_text(dump_config(config))
        reports, suggested = run_trivial_trials(config, paths, folder)
        to_resume = seconds_to_resume(paths)
    table = Table("trials before", "an epoch's report, median, ms", "a suggestion, median, ms")
    for part in range(N_PARTS):
        table.add_row(
            f"{n_trials * part // N_PARTS} to {n_trials * (part + 1) // N_PARTS}",
            f"{1000 * statistics.median(_part(reports, part)):.2f}",
            f"{1000 * statistics.median(_part(suggested, part)):.1f}",
        )
    Console().print(table)
    Console().print(
        f"Resuming the study of {n_trials} trials, {len(reports)} epochs: {to_resume:.1f} s from"
        " its record to the first new trial, without the start of Ray"
    )


def _part(values: list[float], part: int) -> list[float]:
    return values[len(values) * part // N_PARTS : len(values) * (part + 1) // N_PARTS]


if __name__ == "__main__":
    main()
