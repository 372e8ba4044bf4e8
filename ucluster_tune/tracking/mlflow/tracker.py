"""The study in MLflow: a parent run a study, a child run a trial, one batch of metrics an epoch.

Knows nothing of Ray, Optuna or the study's record; MLflow can be rebuilt from that record.
Only the driver holds a `Tracker`; workers never write to the store.
"""

import math
import numbers
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ucluster_tune.config.objective import NEEDING_LABELS
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.tracking.databases import one_at_a_time, with_password
from ucluster_tune.tracking.mlflow.mlflow_internals import SHARED_VIEW
from ucluster_tune.tracking.mlflow.store import (
    artifact_location,
    find_or_create_experiment,
    follow_moved_artifacts,
    import_mlflow,
    keep_mlflow_quiet,
    make_sqlite_store,
    refuse_unusable_store,
    remove_stray_folder,
    resolve_tracking_uri,
    store_errors,
    user_name,
)
from ucluster_tune.tracking.mlflow.stored_runs import STATUS, TAG_PREFIX, StoredRuns
from ucluster_tune.training.record import EpochRecord

OPEN_TIMEOUT_S = 120.0  # a new SQLite store takes 3 s on an idle core, a dead server is given up

TRACKED_METRICS = (
    "clustering_accuracy",
    "clustering_accuracy_batched",
    "purity",
    "nmi",
    "ari",
    "silhouette",
    "stability",
    "focal_loss",
    "clustering_loss",
    "total_loss",
    "learning_rate",
    "inverse_temperature",
    "jets_per_second",
)
_OWN_TAGS = (
    "state",
    "outcome",
    "cause",
    "not_finite",
    "epochs",
    "study_id",
)  # tell of one run, never copied
_REFERENCE = "reference_accuracy"
_LABEL_FREE = ("silhouette", "stability")
_EPOCHS_A_CALL = 70  # MLflow takes 1000 metrics in one call
_NOTE = "mlflow.note.content"
_NOTE_LENGTH = 5000  # older versions of MLflow take no longer value of a tag
_TAG_LENGTH = 4000  # MLflow refuses tags above 8000 bytes


_Values = tuple[int, int, Mapping[str, Any]]  # step, Unix milliseconds, metrics


class Tracker(StoredRuns):
    """An open MLflow store, and its experiment that is written to.

    Every method raises StudyError when the store cannot be reached or written.
    """

    @classmethod
    def open(
        cls, tracking: TrackingConfig, studies_dir: Path, timeout_s: float = OPEN_TIMEOUT_S
    ) -> "Tracker":
        """Return the tracker on the configured store; store and experiment are made where missing.

        Safe to call in a thread: 4 s of imports and 3 s of migrations for a new SQLite file.

        Raises:
            StudyError: the store cannot be reached or written within `timeout_s` seconds.
        """
        uri = with_password(resolve_tracking_uri(tracking.uri, studies_dir))
        shown = uri_without_password(uri)
        refuse_unusable_store(uri)
        keep_mlflow_quiet()
        opening = begin(lambda: cls._open(uri, tracking.experiment, studies_dir), "open-mlflow")
        if not is_done(opening, timeout_s):
            raise StudyError(
                f"MLflow store {shown} did not answer within {timeout_s:g} s;"
                " check that it runs, or set tracking.uri"
            )
        return opening.result()

    @classmethod
    def _open(cls, uri: str, experiment: str, studies_dir: Path) -> "Tracker":
        import_mlflow()
        with store_errors(uri):
            from mlflow.tracking import MlflowClient

            make_sqlite_store(uri)
            follow_moved_artifacts(uri)
            with one_at_a_time(uri, "MLflow's database"):
                # Unset, the registry would follow the environment's store.
                client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            remove_stray_folder(uri)
            location = artifact_location(uri, studies_dir)
            experiment_id = find_or_create_experiment(client, experiment, location)
            return cls(client, experiment_id)

    def start_study(self, name: str, params: Mapping[str, Any], tags: Mapping[str, Any]) -> str:
        """Return the id of the new parent run of study `name`.

        Args:
            name: of the study, also of the run.
            params: flat; what describes the search, such as sampler and budget.
            tags: such as dataset_checksum, code_version, seed; `ucluster_tune.` is put in front
                of each, and the study's trials get them too.
        """
        own = {**tags, "study": name, "state": "running"}
        return self._start_run(name, params, _prefixed(own))

    def start_trial(
        self,
        study_run_id: str,
        trial_id: str,
        hyperparameters: Mapping[str, Any],
        started_ms: int | None = None,
    ) -> str:
        """Return the id of the new child run of a trial.

        The parent's tags are copied, because MLflow's search looks at one run at a time.

        Args:
            study_run_id: what `start_study` returned.
            trial_id: such as "0003".
            hyperparameters: by dotted path; become MLflow params of the same names.
            started_ms: when it started, in Unix milliseconds; now by default.
        """
        with store_errors(self._secret_uri):
            inherited = _study_tags(self._client.get_run(study_run_id))
        own = _prefixed({"trial": trial_id, "outcome": "running"})
        own["mlflow.parentRunId"] = study_run_id
        name = f"{inherited[TAG_PREFIX + 'study']}/{trial_id}"
        return self._start_run(name, hyperparameters, {**inherited, **own}, started_ms)

    def draw_reference(self, run_id: str, reference: float, n_epochs: int) -> None:
        """Give the study's run the line of the reference, from the first epoch to the last one.

        It is not in the runs of trials: where these are compared, what is the same in all of them
        squeezes the axes of what is not.
        """
        now = int(time.time() * 1000)
        ends = sorted({1, max(1, n_epochs)})
        self._log_metrics(run_id, [(epoch, now, {_REFERENCE: reference}) for epoch in ends])

    def share_view(self, key: str, state: str) -> None:
        """Keep a view of the table of runs, which an address with this key opens.

        Args:
            key: of the experiment, see `pages.view_key`.
            state: of MLflow's interface, see `pages.trials_view`.
        """
        with store_errors(self._secret_uri):
            self._client.set_experiment_tag(self.experiment_id, SHARED_VIEW + key, state)

    def forget_view(self, key: str) -> None:
        """Remove a view that `share_view` kept, if there is one."""
        with store_errors(self._secret_uri):
            experiment = self._client.get_experiment(self.experiment_id)
            if SHARED_VIEW + key in experiment.tags:
                self._client.delete_experiment_tag(self.experiment_id, SHARED_VIEW + key)

    def log_epochs(
        self,
        run_id: str,
        epochs: Sequence[tuple[EpochRecord, int]],
        reference: float,
        best: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
    ) -> None:
        """Send the metrics of epochs in as few calls as there can be, by epoch as MLflow's step.

        Beside those of the record, what `best` tells, and `difference_to_reference`:
        clustering_accuracy_batched minus the reference. The published
        81 % is matched within batches of 512 (arXiv:2010.07106), so only the accuracy matched
        the same way may be held against it.

        A value that is not finite is left out and named in the tag `ucluster_tune.not_finite`:
        MLflow stores infinity as the largest float, which flattens every chart.

        Args:
            run_id: of the trial.
            epochs: their records, and when each epoch ended, in Unix milliseconds. The
                same record sent again with the same time is stored once.
            reference: accuracy, in (0, 1].
            best: further metrics, by epoch: the best so far. MLflow's tables show the last value
                of a metric, by which they would rank trials otherwise than `status` does.
        """
        values: list[_Values] = []
        for record, time_ms in epochs:
            # The best comes first: it is what MLflow's comparison shows unasked.
            metrics: dict[str, Any] = dict(best.get(record.epoch, {}))
            metrics |= {name: getattr(record, name) for name in TRACKED_METRICS}
            absent = [name for name in _LABEL_FREE if record.value(name) is None]  # older versions
            absent += [] if record.class_names else NEEDING_LABELS
            metrics = {name: value for name, value in metrics.items() if name not in absent}
            batched = record.value("clustering_accuracy_batched")
            if batched is not None:
                metrics["difference_to_reference"] = batched - reference
            values.append((record.epoch, time_ms, metrics))
        for start in range(0, len(values), _EPOCHS_A_CALL):
            self._log_metrics(run_id, values[start : start + _EPOCHS_A_CALL])

    def resume_study(self, run_id: str) -> None:
        """Mark the run of a study that ended as running again."""
        self._set_running(run_id, "state")

    def resume_trial(self, run_id: str) -> None:
        """Mark the run of a trial that ended as running again."""
        self._set_running(run_id, "outcome")

    def _set_running(self, run_id: str, tag: str) -> None:
        with store_errors(self._secret_uri):
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, TAG_PREFIX + tag, "running")

    def delete(self, run_id: str) -> None:
        """Put a run where MLflow keeps deleted ones."""
        with store_errors(self._secret_uri):
            self._client.delete_run(run_id)

    def log_artifacts(self, run_id: str, *paths: Path, artifact_path: str | None = None) -> None:
        """Copy files, and all that is in folders, into the run's artifacts.

        Args:
            run_id: of a trial or study.
            paths: files and folders.
            artifact_path: folder inside the artifacts; their root by default.
        """
        with store_errors(self._secret_uri):
            for path in paths:
                log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
                log(run_id, str(path), artifact_path)

    def log_seeds(
        self, run_id: str, n_epochs: int, time_ms: int, metrics: Mapping[str, float]
    ) -> None:
        """Log metrics of a trial's seeds together; those that the run has stay as they are."""
        self._log_metrics(run_id, [(n_epochs, time_ms, metrics)])

    def end_trial(
        self,
        run_id: str,
        outcome: str,
        cause: str | None = None,
        n_epochs: int = 0,
        ended_ms: int | None = None,
    ) -> None:
        """Close the run of a trial.

        Args:
            run_id: of the trial.
            outcome: complete or stopped_early (MLflow's FINISHED), failed (FAILED),
                interrupted (KILLED).
            cause: why it failed or was interrupted; nothing to tell by default.
            n_epochs: that the run has.
            ended_ms: when it ended, in Unix milliseconds; now by default.
        """
        tags = {"outcome": outcome, "cause": cause or "", "epochs": n_epochs}
        self._end_run(run_id, outcome, tags, ended_ms)

    def end_study(self, run_id: str, state: str, metrics: Mapping[str, Any]) -> None:
        """Close the parent run.

        Args:
            run_id: of the study.
            state: complete (MLflow's FINISHED), failed (FAILED) or interrupted (KILLED).
            metrics: what the study reached, such as best_test_clustering_accuracy.
        """
        self._log_metrics(run_id, [(0, int(time.time() * 1000), metrics)])
        self._end_run(run_id, state, {"state": state})

    def tell_answer(self, run_id: str, report: Path, words: str) -> bool:
        """Attach the report of a study to its run, whose description becomes the answer.

        Args:
            run_id: of the study.
            report: folder of the page.
            words: the answer, as Markdown; paragraphs and tables for which MLflow's limit leaves
                no room are left out whole.

        Returns:
            Whether the run was described by another answer, or by none.
        """
        self.log_artifacts(run_id, report, artifact_path="report")
        told = _shortened(words)
        with store_errors(self._secret_uri):
            before = self._client.get_run(run_id).data.tags.get(_NOTE)
            if before != told:
                self._client.set_tag(run_id, _NOTE, told)
        return bool(before != told)

    def register_model(
        self, run_id: str, name: str, model: Path, artifact_path: str, description: str
    ) -> str:
        """Return the version that a model of MLflow's gets in the registry.

        Args:
            run_id: of the trial, which gets the model among its artifacts.
            name: of the registered model, which is made where there is none.
            model: its folder.
            artifact_path: where in the run's artifacts it goes.
            description: of the version.
        """
        from mlflow.exceptions import MlflowException

        self.log_artifacts(run_id, model, artifact_path=artifact_path)
        with store_errors(self._secret_uri):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{artifact_path}"
            made = self._client.create_model_version(
                name, source, run_id=run_id, description=description
            )
        return str(made.version)

    def _start_run(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: dict[str, str],
        started_ms: int | None = None,
    ) -> str:
        origin = {"mlflow.source.name": "ucluster-tune", "mlflow.source.type": "LOCAL"}
        user = user_name()
        if user:
            origin["mlflow.user"] = user
        with store_errors(self._secret_uri):
            run = self._client.create_run(
                self.experiment_id, started_ms, tags={**origin, **tags}, run_name=name
            )
            run_id: str = run.info.run_id
        self.add_params(run_id, params)
        return run_id

    def add_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Give a run params that it lacks: MLflow lets none be changed."""
        with store_errors(self._secret_uri):
            from mlflow.entities import Param

            self._client.log_batch(
                run_id, params=[Param(key, _as_text(value)) for key, value in params.items()]
            )

    def _log_metrics(self, run_id: str, values: Sequence[_Values]) -> None:
        with store_errors(self._secret_uri):
            from mlflow.entities import Metric, RunTag

            sent, left_out = [], []
            for step, time_ms, metrics in values:
                finite = {name: float(v) for name, v in metrics.items() if _is_finite(v)}
                sent += [Metric(name, value, time_ms, step) for name, value in finite.items()]
                absent = [f"{name}: {metrics[name]}" for name in metrics if name not in finite]
                left_out += [f"step {step}: {', '.join(absent)}"] if absent else []
            text = "; ".join(left_out)[:_TAG_LENGTH]
            tags = [RunTag(TAG_PREFIX + "not_finite", text)] if text else []
            self._client.log_batch(run_id, metrics=sent, tags=tags)

    def _end_run(
        self, run_id: str, how: str, tags: Mapping[str, Any], ended_ms: int | None = None
    ) -> None:
        status = STATUS[how]
        with store_errors(self._secret_uri):
            from mlflow.entities import RunTag

            self._client.log_batch(
                run_id, tags=[RunTag(key, value) for key, value in _prefixed(tags).items()]
            )
            self._client.set_terminated(run_id, status, ended_ms)


def _prefixed(tags: Mapping[str, Any]) -> dict[str, str]:
    return {TAG_PREFIX + key: _as_text(value)[:_TAG_LENGTH] for key, value in tags.items()}


def _study_tags(run: Any) -> dict[str, str]:
    own = {TAG_PREFIX + key for key in _OWN_TAGS}
    return {
        key: value
        for key, value in run.data.tags.items()
        if key.startswith(TAG_PREFIX) and key not in own
    }


def _as_text(value: Any) -> str:
    """Return it as YAML writes it, so that a param reads like the search-space file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _shortened(markdown: str) -> str:
    """Return the text without the paragraphs and tables that MLflow's limit has no room for."""
    kept: list[str] = []
    room = _NOTE_LENGTH
    for part in markdown.split("\n\n"):
        if len(part) + 2 <= room:
            kept.append(part)
            room -= len(part) + 2
    return "\n\n".join(kept)
