"""Studies of trials that train nothing, made by a search's own parts without Ray."""

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.points import published_point
from ucluster_tune.config.study import StudyConfig, TrackingConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.listener import TuneListener
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.events import StudyStarted
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import DashboardFile
from ucluster_tune.tracking.mlflow.mirror import MlflowMirror
from ucluster_tune.tracking.mlflow.tracked_study import study_mirror
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.trainable import EPOCH

_NUMBERS: dict[str, Any] = {
    name: 0.5 for name, kind in get_type_hints(EpochRecord).items() if kind is float
}
_NO_EPOCH = EpochRecord(
    epoch=1,
    phase="clustering",
    confusion=[[300, 20, 10], [15, 280, 30], [9, 40, 296]],
    class_names=["w", "z", "t"],
    **_NUMBERS,
)


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


def trivial_epochs(trial_id: str, n_epochs: int) -> list[EpochRecord]:
    """Return what a trial reports."""
    accuracy = random.Random(trial_id)
    level = accuracy.uniform(0.4, 0.8)
    return [
        replace(_NO_EPOCH, epoch=epoch, clustering_accuracy=level + accuracy.gauss(0, 0.02))
        for epoch in range(1, n_epochs + 1)
    ]


class TrivialStudy(NamedTuple):
    """A study, and who follows its record."""

    journal: StudyJournal
    driver: StudyDriver
    sampler: StudySampler
    dashboards: DashboardCopy
    mirror: MlflowMirror


def begin_study(
    config: StudyConfig, paths: StudyPaths, folder: StudiesFolder, dataset_checksum: str = "0"
) -> TrivialStudy:
    """Return a new study with its journal open and its mirror not yet started."""
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
    keeper = RecordKeeper(journal, StudyRecord(started))
    driver = StudyDriver(config, paths, keeper)
    sampler = StudySampler(config, keeper.record, published_point(config))
    store = DashboardFile(paths.optuna_db, paths.name)
    dashboards = DashboardCopy(config, keeper.record, keeper.lock, store)
    mirror = study_mirror(config, keeper, paths, folder, lambda _trial: None, tracker)
    for observer in (sampler, dashboards, mirror):
        keeper.tell(observer)
    return TrivialStudy(journal, driver, sampler, dashboards, mirror)


def run_study(
    config: StudyConfig, paths: StudyPaths, folder: StudiesFolder, dataset_checksum: str
) -> None:
    """Run all trials in turn, in the order of Tune's calls; return when MLflow has them too."""
    study = begin_study(config, paths, folder, dataset_checksum)
    with study.journal:
        study.mirror.start()
        suggestions = Suggestions(study.sampler, study.driver, lambda: 1)
        scheduler = Verdicts(study.driver)
        listener = TuneListener(study.driver, scheduler, lambda _line: None, lambda: None)
        assert config.budget.n_trials is not None, "trivial_study gives a number"
        for number in range(config.budget.n_trials + 1):
            suggested = suggestions.suggest(f"t{number}")
            if suggested != Searcher.FINISHED:
                trial = SimpleNamespace(trial_id=f"t{number}", config=suggested, last_result={})
                _run_trial(trial, config, listener, scheduler)
        study.dashboards.close()
        assert study.mirror.close(3600), study.mirror.last_failure


def _run_trial(
    trial: Any, config: StudyConfig, listener: TuneListener, scheduler: Verdicts
) -> None:
    controller: Any = None
    scheduler.on_trial_add(controller, trial)
    listener.on_trial_start(0, [], trial)
    for epoch in trivial_epochs(trial.config["trial_id"], config.training.n_epochs):
        result = {EPOCH: epoch}
        if listener(trial.trial_id, result):
            break
        if scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP:
            break
    listener.on_trial_complete(0, [], trial)
