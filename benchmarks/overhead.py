"""What checkpoints and bookkeeping cost a trial: epochs with both and with neither, in turn.

    .venv/bin/python -m benchmarks.overhead --epochs 8

The quickstart's network, jets and batches, in one process. An epoch is trained and measured, then
its evaluation and checkpoint are written and its record goes through journal, Optuna and the
driver; the second part over the first is the cost. MLflow follows in a thread of its own, whose
work for the epoch is timed apart and counted in full.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
from rich.console import Console
from rich.table import Table

from ucluster_tune import __version__
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.search_space import trial_config
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.search.dashboard_stores import DashboardFile
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.events import StudyStarted
from ucluster_tune.search.journal import StudyJournal
from ucluster_tune.search.paths import StudiesFolder
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.search.tracked_study import begin_in_mlflow
from ucluster_tune.search.tracking import Tracker
from ucluster_tune.training.device import use_devices
from ucluster_tune.training.group import OneWorker
from ucluster_tune.trial.checkpointed import CheckpointedTraining

QUICKSTART = Path(__file__).parents[1] / "search_spaces" / "quickstart.yaml"


class TimedTraining(CheckpointedTraining):
    """Training whose writing is timed."""

    writing_s = 0.0

    def _write(self, record: dict[str, Any]) -> None:
        began = time.perf_counter()
        super()._write(record)
        self.writing_s = time.perf_counter() - began


@click.command()
@click.option("--epochs", "n_epochs", default=8, show_default=True, help="Epochs to train.")
@click.option("--threads", default=2, show_default=True, help="Threads of TensorFlow.")
def main(n_epochs: int, threads: int) -> None:
    """Print the seconds of each part of an epoch, and their share."""
    use_devices(threads)
    config = load_study_config(QUICKSTART, [f"training.n_epochs={n_epochs + 1}"])
    with tempfile.TemporaryDirectory() as name:
        folder = StudiesFolder(Path(name))
        paths = folder.study("overhead")
        paths.trials.mkdir(parents=True)
        tracker = Tracker.open(TrackingConfig(), folder.root)
        started = StudyStarted(
            name=paths.name,
            config=config.model_dump(mode="json"),
            code_version=__version__,
            dataset_checksum="0",
            tracking_uri=tracker.uri,
            experiment_id=tracker.experiment_id,
            seed=1,
            reference_accuracy=0.81,
        )
        with StudyJournal(paths.record) as journal:
            journal.append(started)
            driver = StudyDriver(config, paths, journal, StudyRecord(started), [])
            run_id = begin_in_mlflow(tracker, config, driver.record)
            dashboards = DashboardFile(paths.optuna_db, paths.name)
            sampler = StudySampler(config, name=paths.name, dashboards=dashboards)
            searcher = OptunaSuggestions(
                sampler, config.objective, 0, driver.may_begin, driver.begin_trial
            )
            suggested = searcher.suggest("t")
            assert isinstance(suggested, dict)
            trial: Any = SimpleNamespace(trial_id="t", config=suggested, last_result={})
            trial_run = tracker.start_trial(run_id, "0001", {})
            chosen = trial_config(config, driver.record.trials["0001"].hyperparameters)
            training = TimedTraining(chosen, paths.trial("0001"), config.objective, OneWorker())
            parts = [
                epoch_parts(training, driver, searcher, trial, tracker, trial_run)
                for _ in range(n_epochs + 1)
            ][1:]  # the first one traces the network
            sampler.close()
    show(parts)


def epoch_parts(
    training: TimedTraining,
    driver: StudyDriver,
    searcher: OptunaSuggestions,
    trial: Any,
    tracker: Tracker,
    run_id: str,
) -> tuple[float, float, float, float]:
    """Return the seconds of training, checkpoint, bookkeeping and MLflow in an epoch."""
    began = time.perf_counter()
    record = training.run_epoch()
    trained = time.perf_counter() - began - training.writing_s
    began = time.perf_counter()
    searcher.on_trial_result(trial.trial_id, record)
    driver.on_trial_result(0, [], trial, record)
    noted = time.perf_counter() - began
    began = time.perf_counter()
    tracker.log_epochs(run_id, [(record, round(1000 * time.time()))], 0.81)
    return trained, training.writing_s, noted, time.perf_counter() - began


def show(parts: list[tuple[float, float, float, float]]) -> None:
    """Print the medians and the share of all that is not training."""
    table = Table("part", "an epoch, median, s", "of training, median, %")
    names = (
        "training and evaluation",
        "checkpoint and evaluation file",
        "journal and Optuna",
        "MLflow",
    )
    for index, name in enumerate(names):
        shares = [100 * part[index] / part[0] for part in parts]
        seconds = statistics.median(part[index] for part in parts)
        table.add_row(name, f"{seconds:.3f}", f"{statistics.median(shares):.2f}")
    cost = [100 * sum(part[1:]) / part[0] for part in parts]
    Console().print(table)
    Console().print(
        f"Checkpoints and bookkeeping cost {statistics.median(cost):.1f} % of training"
        f" ({min(cost):.1f} to {max(cost):.1f} over {len(cost)} epochs)"
    )


if __name__ == "__main__":
    main()
