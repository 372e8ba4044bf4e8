"""Studies of trials that train nothing, made by a search's own parts without Ray."""

import random
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.search_space import published_point
from ucluster_tune.config.study import StudyConfig, TrackingConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.study.events import StudyStarted
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.stores import DashboardFile
from ucluster_tune.tracking.mlflow.mirror import Bookkeeping, MlflowMirror
from ucluster_tune.tracking.mlflow.tracked_study import study_mirror
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.record import RECORD_FIELDS

_NO_EPOCH: dict[str, Any] = dict.fromkeys(RECORD_FIELDS, 0.5) | {
    "phase": "clustering",
    "confusion": [[300, 20, 10], [15, 280, 30], [9, 40, 296]],
    "class_names": ["w", "z", "t"],
    "warnings": [],
}


def trivial_study(n_trials: int, n_epochs: int, jets: str = "/none") -> StudyConfig:
    """Return a search over two values."""
    return StudyConfig.model_validate(
        {
            "name": "trivial",
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


def trivial_epochs(trial_id: str, n_epochs: int) -> list[dict[str, Any]]:
    """Return what a trial reports."""
    accuracy = random.Random(trial_id)
    level = accuracy.uniform(0.4, 0.8)
    return [
        _NO_EPOCH | {"epoch": epoch, "clustering_accuracy": level + accuracy.gauss(0, 0.02)}
        for epoch in range(1, n_epochs + 1)
    ]


def begin_study(
    config: StudyConfig, paths: StudyPaths, folder: StudiesFolder, dataset_checksum: str = "0"
) -> tuple[StudyJournal, StudyDriver, MlflowMirror]:
    """Return an open journal, and the driver and the mirror, not yet started, of a new study."""
    paths.trials.mkdir(parents=True)
    paths.study_yaml.write_text(dump_config(config))
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
    journal = StudyJournal(paths.record)
    journal.append(started)
    driver = StudyDriver(config, paths, journal, StudyRecord(started), [])
    books = Bookkeeping(driver.record, paths, driver.lock, driver.note, lambda _: None)
    mirror = study_mirror(config, books, folder, tracker)
    driver.trial_changed = mirror.trial_changed
    return journal, driver, mirror


def run_study(
    config: StudyConfig, paths: StudyPaths, folder: StudiesFolder, dataset_checksum: str
) -> None:
    """Run all trials in turn, in the order of Tune's calls; return when MLflow has them too."""
    journal, driver, mirror = begin_study(config, paths, folder, dataset_checksum)
    with journal:
        mirror.start()
        sampler = StudySampler(
            config,
            name=paths.name,
            published_point=published_point(config),
            dashboards=DashboardFile(paths.optuna_db, paths.name),
        )
        searcher = OptunaSuggestions(
            sampler, config.objective, 0, driver.may_begin, driver.begin_trial
        )
        scheduler = build_scheduler(config)
        for number in range(config.budget.n_trials + 1):
            suggested = searcher.suggest(f"t{number}")
            if suggested != Searcher.FINISHED:
                trial = SimpleNamespace(
                    trial_id=f"t{number}", config=suggested, last_result={}, status="RUNNING"
                )
                _run_trial(trial, config, driver, searcher, scheduler)
        sampler.close()
        assert mirror.close(3600), mirror.last_failure


def _run_trial(
    trial: Any,
    config: StudyConfig,
    driver: StudyDriver,
    searcher: OptunaSuggestions,
    scheduler: TrialScheduler,
) -> None:
    controller: Any = None
    scheduler.on_trial_add(controller, trial)
    driver.on_trial_start(0, [], trial)
    for result in trivial_epochs(trial.config["trial_id"], config.training.n_epochs):
        decision = TrialScheduler.STOP
        if result["epoch"] < config.training.n_epochs:
            decision = scheduler.on_trial_result(controller, trial, result)
        if decision != TrialScheduler.STOP:
            searcher.on_trial_result(trial.trial_id, result)
        driver.on_trial_result(0, [], trial, result)
        if decision == TrialScheduler.STOP:
            searcher.on_trial_complete(trial.trial_id, result)
            scheduler.on_trial_complete(controller, trial, result)
            driver.on_trial_complete(0, [], trial)
            return
