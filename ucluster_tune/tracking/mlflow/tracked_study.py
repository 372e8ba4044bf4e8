"""A study's place in MLflow: its run, and the mirror that keeps it equal to the record."""

import logging
from collections.abc import Callable
from pathlib import Path

from ucluster_tune.config.search_space import corners
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState
from ucluster_tune.tracking.mlflow.mirror import MlflowMirror
from ucluster_tune.tracking.mlflow.store import uri_of_study
from ucluster_tune.tracking.mlflow.tracker import Tracker

_LOGGER = logging.getLogger(__name__)
DrawPictures = Callable[[Path, Path], list[Path]]


def begin_in_mlflow(tracker: Tracker, config: StudyConfig, record: StudyRecord) -> str:
    """Return the id of the study's new run."""
    assert config.name is not None
    run_id = tracker.start_study(
        config.name,
        params={
            "sampler": config.sampler.name,
            "scheduler": config.scheduler.name,
            "n_trials": config.budget.n_trials or config.budget.in_words(),
            "n_epochs": config.training.n_epochs,
            "workers_per_trial": config.resources.n_workers,
            "objective": config.objective.metric,
        },
        tags={
            "study_id": record.study_id,
            "dataset_checksum": record.dataset_checksum,
            "code_version": record.code_version,
            "seed": config.training.seed,
        },
    )
    searched = config.search_space.get("training.n_epochs")
    n_epochs = config.training.n_epochs if searched is None else max(map(int, corners(searched)))
    if record.is_labelled:
        tracker.draw_reference(run_id, record.reference_accuracy, n_epochs)
    return run_id


def study_mirror(
    config: StudyConfig,
    keeper: RecordKeeper,
    paths: StudyPaths,
    folder: StudiesFolder,
    before_end: Callable[[TrialState], None],
    tracker: Tracker | None,
) -> MlflowMirror:
    """Return the mirror of a study, not yet started.

    Args:
        config: of the study.
        keeper: of its record.
        paths: of the study.
        folder: of all studies.
        before_end: called once for a trial that ended, before its files are sent.
        tracker: open already; None has the mirror open it.
    """

    def begin(opened: Tracker) -> str:
        run_id = begin_in_mlflow(opened, config, keeper.record)
        opened.log_artifacts(run_id, paths.study_yaml)
        return run_id

    def open_store() -> Tracker:
        return tracker or open_store_of(config, keeper.record, folder)

    return MlflowMirror(keeper, paths, open_store, begin, before_end)


def open_store_of(config: StudyConfig, record: StudyRecord, folder: StudiesFolder) -> Tracker:
    """Return the open store that holds a study's runs; raises what `Tracker.open` does."""
    uri = uri_of_study(config.tracking.uri, record.tracking_uri, folder.root)
    return Tracker.open(config.tracking.model_copy(update={"uri": uri}), folder.root)


def draw_best_epoch(paths: StudyPaths, draw: DrawPictures) -> Callable[[TrialState], None]:
    """Return what draws a trial's best epoch; a picture that fails must not end a search."""

    def draw_trial(trial: TrialState) -> None:
        if trial.best_epoch is None:
            return
        files = paths.trial(trial.id, trial.best_training.plan.id)
        try:
            draw(files.evaluation(trial.best_epoch), files.pictures)
        except (UClusterTuneError, OSError) as error:
            _LOGGER.warning("trial %s: no pictures of its best epoch: %s", trial.id, error)

    return draw_trial


def study_metrics(record: StudyRecord) -> dict[str, float]:
    """Return what the study reached, as metrics of its run."""
    metrics = {"reference_accuracy": record.reference_accuracy} if record.is_labelled else {}
    if record.best is not None and record.best.best is not None:
        names = dict.fromkeys(("clustering_accuracy", record.objective.metric))
        found = {name: record.best.value(name) for name in names}
        metrics |= {f"best_validation_{n}": v for n, v in found.items() if v is not None}
    if record.best_test is not None:
        metrics["best_test_clustering_accuracy"] = record.best_test["clustering_accuracy"]
    return metrics
