"""Whether all that a study left agrees with its record: journal, MLflow, Optuna, checkpoints."""

import json
from pathlib import Path
from typing import Any

import mlflow
import optuna
from sqlalchemy.pool import NullPool

from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.databases import with_password
from ucluster_tune.tracking.mlflow.store import uri_of_study

_STATUS = {
    "complete": "FINISHED",
    "stopped_early": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_OPTUNA = {"complete": "COMPLETE", "stopped_early": "PRUNED"}
_METRICS = ("clustering_accuracy", "focal_loss", "jets_per_second")


def assert_all_agrees(studies: Path | StudiesFolder, name: str) -> StudyRecord:
    """Compares everything with the record of a study that nothing drives, and returns it.

    Args:
        studies: their folder; of studies in a bucket, with its working copies.
        name: of the study.
    """
    folder = StudiesFolder(studies) if isinstance(studies, Path) else studies
    paths = folder.study(name)
    record = read_record(paths.record)
    configured = record.config["tracking"]["uri"]
    record.tracking_uri = uri_of_study(configured, record.tracking_uri, folder.root)  # if moved
    assert record.state != "running"
    assert not record.running
    _assert_journal(paths.record)
    _assert_none_run_twice(record)
    assert_mlflow_agrees(record)
    assert_optuna_agrees(record, f"sqlite:///{paths.optuna_db}", name)
    for trial in record.trials.values():
        epochs = [epoch.epoch for epoch in trial.records]
        assert epochs == list(range(1, trial.epochs + 1)), f"trial {trial.id}: {epochs}"
        if trial.best_epoch is not None:
            files = paths.trial(trial.id, trial.best_training.plan.id)
            assert files.has_checkpoint(trial.best_epoch)
    return record


def _assert_journal(path: Path) -> None:
    """Each trial starts once, and each of its epochs is there once."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    started = [event["trial"] for event in events if event["event"] == "trial_started"]
    assert len(started) == len(set(started))
    ended = [event for event in events if event["event"] == "epoch"]
    # In format 1 no training is named: a trial had just one.
    epochs = [(e["trial"], e.get("training"), e["record"]["epoch"]) for e in ended]
    assert len(epochs) == len(set(epochs))


def _assert_none_run_twice(record: StudyRecord) -> None:
    """No two trials have the same hyperparameters, where one of them is a continuous one."""
    space = record.config.get("search_space", {}).values()
    if any(searched["type"] == "float" and searched["step"] is None for searched in space):
        asked = [tuple(trial.hyperparameters.items()) for trial in record.trials.values()]
        assert len(asked) == len(set(asked)), asked


def assert_mlflow_agrees(record: StudyRecord) -> None:
    """Compares MLflow with the record: one run a trial, each epoch once, true states."""
    client = mlflow.MlflowClient(tracking_uri=with_password(record.tracking_uri))
    assert record.run_id is not None
    parent = client.get_run(record.run_id)
    assert parent.info.status == _STATUS[record.state], parent.info.status
    runs = client.search_runs(
        [record.experiment_id],
        f"tags.`mlflow.parentRunId` = '{record.run_id}'",
        max_results=1000,
    )
    assert sorted(run.data.tags["ucluster_tune.trial"] for run in runs) == sorted(record.trials)
    for run in runs:
        trial = record.trials[run.data.tags["ucluster_tune.trial"]]
        assert run.info.run_id == trial.run_id
        assert run.info.status == _STATUS[trial.outcome], (trial.id, run.info.status)
        assert run.data.tags["ucluster_tune.outcome"] == trial.outcome
        asked = {name: str(value) for name, value in trial.hyperparameters.items()}
        assert run.data.params == asked, trial.id
        for metric in _METRICS:
            history = client.get_metric_history(run.info.run_id, metric)
            steps = sorted(point.step for point in history)
            assert steps == list(range(1, trial.epochs + 1)), (trial.id, metric, steps)
            told = {point.step: point.value for point in history}
            assert told == {e.epoch: e.value(metric) for e in trial.records}
        if trial.n_seeds > 1:  # the curve is that of the first one
            assert [run.data.metrics.get(name) for name in _of_seeds(record)] == [
                trial.score(record.objective) if trial.is_whole else None,
                trial.spread(record.objective.metric),
            ]
        elif trial.best is not None:  # ranked as `status` does
            assert run.data.metrics["best_epoch"] == trial.best_epoch
            best = run.data.metrics["best_clustering_accuracy"]
            assert best == trial.best.clustering_accuracy


def _of_seeds(record: StudyRecord) -> tuple[str, str]:
    metric = record.objective.metric
    return f"mean_{metric}", f"spread_{metric}"


def assert_optuna_agrees(record: StudyRecord, storage: str, study_name: str) -> None:
    """Compares Optuna's store for dashboards with the record."""
    # Connections end after use: those that are kept would be closed by nobody.
    opened = optuna.storages.RDBStorage(storage, engine_kwargs={"poolclass": NullPool})
    study = optuna.load_study(study_name=study_name, storage=opened)
    trials = [t for t in study.get_trials() if not t.user_attrs.get("of_another_study")]
    names = [trial.user_attrs["trial"] for trial in trials]
    assert names == list(record.trials), (names, trials)
    for trial in trials:
        own = record.trials[trial.user_attrs["trial"]]
        assert trial.state.name == _OPTUNA.get(own.outcome, "FAIL"), (own.id, trial.state)
        params: dict[str, Any] = {
            **trial.params,
            **trial.user_attrs.get("outside_search_space", {}),
        }
        assert params == own.hyperparameters
        assert trial.intermediate_values == own.objective_by_epoch(record.objective)
        if own.outcome == "complete":
            assert trial.value == own.score(record.objective)
