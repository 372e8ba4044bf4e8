"""MLflow kept equal to the study's record, in a thread of its own.

The search never waits for MLflow: what a store did not take while it was away is sent once it is
back, by this driver or by a later one. What MLflow lacks is found by comparing it with the record:
an epoch's metrics carry the time at which the record says that it ended. So nothing is lost,
nothing is sent twice, and metrics that the record does not know are told from those that it does.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.errors import CheckpointError, StudyError
from ucluster_tune.storage.patience import Follower
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    FinalState,
    StudyTracked,
    TrialEnded,
    TrialRestored,
    TrialResumed,
    TrialStarted,
    TrialTracked,
)
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.knowledge import settings
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState, Value
from ucluster_tune.tracking.mlflow.pages import trials_view, view_key
from ucluster_tune.tracking.mlflow.store import keep_mlflow_quiet
from ucluster_tune.tracking.mlflow.stored_runs import TrialRun
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.record import EpochRecord, best_record

_LOGGER = logging.getLogger(__name__)
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 5.0, 60.0
_OF_A_TRIAL = (TrialStarted, TrialResumed, TrialRestored, EpochEnded, TrialEnded)


class MlflowMirror:
    """Sends what the record has and MLflow has not; an observer of the record.

    Args:
        keeper: of the study's record.
        paths: of the study.
        open_tracker: opens the store; StudyError while it is away.
        begin_study: makes the study's run in a store that has none, and returns its id.
        before_end: called once for a trial that ended, before its files are sent.

    Attributes:
        changes: what MLflow said otherwise than the record, one line each.
        last_failure: why it is behind, empty where it never was.
    """

    def __init__(
        self,
        keeper: RecordKeeper,
        paths: StudyPaths,
        open_tracker: Callable[[], Tracker],
        begin_study: Callable[[Tracker], str],
        before_end: Callable[[TrialState], None] = lambda _trial: None,
    ) -> None:
        self.changes: list[str] = []
        self.last_failure = ""
        self._keeper, self._paths = keeper, paths
        self._open_tracker, self._begin_study = open_tracker, begin_study
        self._before_end = before_end
        self._tracker: Tracker | None = None
        self._runs: dict[str, TrialRun] = {}  # as they were when the store was opened
        self._sent: dict[str, dict[int, int]] = {}  # of each trial: when an epoch ended, by epoch
        self._prepared: set[str] = set()
        self._changed: dict[str, None] = {}  # trials, in the order in which they changed
        self._follower = Follower(
            "mlflow-mirror",
            self._send_next,
            lambda: self._tracker is None or bool(self._changed),
            self._failed,
            pause_s=_FIRST_BACK_OFF_S,
            longest_pause_s=_LONGEST_BACK_OFF_S,
        )

    def start(self) -> None:
        """Begin to send."""
        keep_mlflow_quiet()
        self._follower.wake()

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Have the trial of an event brought up to date, some time."""
        if isinstance(event, _OF_A_TRIAL) and record.is_searched(event):
            with self._follower.condition:
                self._changed[event.trial] = None
            self._follower.wake()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, and return whether MLflow has all; one that is away is tried anew."""
        return self._follower.close(timeout_s)

    def end_study(self, state: FinalState, metrics: dict[str, float]) -> None:
        """Close the study's run, after `close` has said that MLflow has all; else StudyError."""
        tracker, run_id = self._closed()
        tracker.end_study(run_id, state, metrics)

    def tell_answer(self, report: Path, words: str) -> bool:
        """Attach the folder of the report to the study's run, and describe it by the answer.

        Return whether the run was described by another one.
        """
        tracker, run_id = self._closed()
        return tracker.tell_answer(run_id, report, words)

    def study_says(self, state: FinalState) -> bool:
        """Return whether the study's run was closed with this state; call it after `close`."""
        tracker, run_id = self._closed()
        return tracker.study_says(run_id, state)

    def _closed(self) -> tuple[Tracker, str]:
        run_id = self._keeper.record.run_id
        assert self._tracker is not None, "close found no store"
        assert run_id is not None, "told when the store was opened"
        return self._tracker, run_id

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StudyError):
            self.last_failure = str(error)
            _LOGGER.warning("MLflow is behind the record: %s", error)
        else:
            self.last_failure = repr(error)
            _LOGGER.error("MLflow is behind the record", exc_info=error)
        # What a store took before it failed is not known: it is compared again.
        self._tracker = None

    def _send_next(self) -> None:
        if self._tracker is None:
            self._tracker = self._connect()
        with self._follower.condition:
            trial_id = next(iter(self._changed), None)
            if trial_id is None:
                return
            del self._changed[trial_id]  # what changes from here on is sent again
        try:
            self._send(self._tracker, trial_id)
        except BaseException:
            with self._follower.condition:
                self._changed = {trial_id: None, **self._changed}
            raise

    def _connect(self) -> Tracker:
        """Open the store, and find out what it lacks."""
        tracker = self._open_tracker()
        record, lock = self._keeper.record, self._keeper.lock
        run_id = self._run_of_study(tracker)
        self._sent = {}
        tracker.share_view(view_key(record), trials_view(record, run_id))
        self._runs = self._one_run_a_trial(tracker, run_id)
        with lock:
            lacking = [trial.id for trial in record.trials.values() if not self._is_whole(trial)]
        with self._follower.condition:
            self._changed = {**dict.fromkeys(lacking), **self._changed}
        return tracker

    def _run_of_study(self, tracker: Tracker) -> str:
        record = self._keeper.record
        if record.run_id is not None and tracker.study_exists(record.run_id):
            if record.state == "running":
                tracker.resume_study(record.run_id)
            return record.run_id
        if record.run_id is not None:
            self._change("MLflow had no run of the study: made anew")
        run_id = tracker.find_study(record.study_id) or self._begin_study(tracker)
        self._keeper.note(
            StudyTracked(
                tracking_uri=tracker.uri, experiment_id=tracker.experiment_id, run_id=run_id
            )
        )
        return run_id

    def _is_whole(self, trial: TrialState) -> bool:
        run = self._runs.get(trial.id)
        if run is None or run.run_id != trial.run_id:
            return False
        return run.says(trial.outcome, trial.epochs) and not self._lacking(run, trial)

    def _one_run_a_trial(self, tracker: Tracker, study_run_id: str) -> dict[str, TrialRun]:
        """Return the run of each trial; further ones are deleted."""
        kept: dict[str, TrialRun] = {}
        with self._keeper.lock:
            own = {trial.id: trial.run_id for trial in self._keeper.record.trials.values()}
        for run in tracker.trials(study_run_id):
            unwanted: TrialRun | None = None
            if run.trial_id not in own:
                unwanted = run
            elif run.trial_id not in kept:
                kept[run.trial_id] = run
            elif own[run.trial_id] == run.run_id:
                unwanted, kept[run.trial_id] = kept[run.trial_id], run
            else:
                unwanted = run
            if unwanted is not None:
                tracker.delete(unwanted.run_id)
                self._change(f"trial {run.trial_id}: a run too many in MLflow, deleted")
        return kept

    def _send(self, tracker: Tracker, trial_id: str) -> None:
        with self._keeper.lock:
            trial = self._keeper.record.trials[trial_id].snapshot()
        has_ended = trial.outcome != "running"
        if has_ended and trial.id not in self._prepared:
            self._before_end(trial)
            self._prepared.add(trial.id)
        run_id = self._run_with_epochs(tracker, trial)
        if has_ended:
            pictures = self._paths.trial(trial.id, trial.best_training.plan.id).pictures
            if pictures.is_dir():
                tracker.log_artifacts(run_id, pictures, artifact_path="best_epoch")
            metric = self._keeper.record.objective.metric
            mean, spread = trial.value(metric), trial.spread(metric)
            if mean is not None and spread is not None and trial.ended is not None:
                of_seeds = {f"mean_{metric}": mean, f"spread_{metric}": spread}
                tracker.log_seeds(run_id, trial.epochs, unix_ms(trial.ended), of_seeds)
            ended_ms = None if trial.ended is None else unix_ms(trial.ended)
            tracker.end_trial(run_id, trial.outcome, trial.cause, trial.epochs, ended_ms)

    def _run_with_epochs(self, tracker: Tracker, trial: TrialState) -> str:
        """Return the trial's run, once it has all epochs of the record and no others."""
        times = {record.epoch: unix_ms(trial.times[record.epoch]) for record in trial.records}
        run_id = self._run_of(tracker, trial)
        sent = self._sent[trial.id]
        if any(times.get(epoch) != time_ms for epoch, time_ms in sent.items()):
            tracker.delete(run_id)
            self._change(f"trial {trial.id}: MLflow had epochs that were run again, sent anew")
            run_id = self._new_run(tracker, trial)
            sent = self._sent[trial.id]
        lacking = [record for record in trial.records if record.epoch not in sent]
        if lacking:
            tracker.log_epochs(
                run_id,
                [(record, times[record.epoch]) for record in lacking],
                self._keeper.record.reference_accuracy,
                best_by_epoch(trial, self._keeper.record.objective),
            )
            sent.update((record.epoch, times[record.epoch]) for record in lacking)
        return run_id

    def _run_of(self, tracker: Tracker, trial: TrialState) -> str:
        if trial.id in self._sent:
            assert trial.run_id is not None
            return trial.run_id
        run = self._runs.get(trial.id)
        if run is None:
            if trial.run_id is not None:
                self._change(f"trial {trial.id}: MLflow had no run of it, made anew")
            return self._new_run(tracker, trial)
        logged = tracker.logged_epochs(run.run_id)
        n_lacking = trial.epochs - len(logged)
        if trial.outcome != "running" and not run.says(trial.outcome, trial.epochs):
            self._change(
                f"trial {trial.id}: MLflow said {run.outcome or run.status.lower()} with"
                f" {len(logged)} epochs, now {trial.outcome} with {trial.epochs}"
            )
        elif n_lacking > 0:
            self._change(f"trial {trial.id}: {n_lacking} epochs sent that MLflow lacked")
        lacking = self._lacking(run, trial)
        if lacking:  # what an extension searches, and these trials had at its fixed value
            tracker.add_params(run.run_id, lacking)
            self._change(f"trial {trial.id}: {', '.join(lacking)} told, which MLflow lacked")
        if trial.outcome == "running" and run.status != "RUNNING":
            tracker.resume_trial(run.run_id)
        if run.run_id != trial.run_id:
            self._keeper.note(TrialTracked(trial=trial.id, run_id=run.run_id))
        self._sent[trial.id] = _by_epoch(logged)
        return run.run_id

    def _new_run(self, tracker: Tracker, trial: TrialState) -> str:
        study_run_id = self._keeper.record.run_id
        assert study_run_id is not None, "told when the store was opened"
        told = settings(self._keeper.record, trial)
        run_id = tracker.start_trial(study_run_id, trial.id, told, unix_ms(trial.started))
        try:
            config = self._paths.trial(trial.id).fetched_config()
        except CheckpointError as error:
            raise StudyError(str(error)) from error
        if config.exists():
            tracker.log_artifacts(run_id, config)
        self._keeper.note(TrialTracked(trial=trial.id, run_id=run_id))
        self._sent[trial.id] = {}
        return run_id

    def _lacking(self, run: TrialRun, trial: TrialState) -> dict[str, Value]:
        """Return what a trial was trained with and its run does not tell."""
        told = settings(self._keeper.record, trial)
        return {name: value for name, value in told.items() if name not in run.params}

    def _change(self, line: str) -> None:
        self.changes.append(line)
        _LOGGER.info("%s", line)


def best_by_epoch(trial: TrialState, objective: ObjectiveConfig) -> dict[int, dict[str, float]]:
    """Return what was the best so far after each epoch of a trial, as metrics."""
    names = dict.fromkeys(("clustering_accuracy", objective.metric))
    best: EpochRecord | None = None
    found: dict[int, dict[str, float]] = {}
    for record in trial.records:
        best = best_record(best, record, objective)
        if best is not None:
            values = {f"best_{name}": best.value(name) for name in names}
            known = {name: value for name, value in values.items() if value is not None}
            found[record.epoch] = {**known, "best_epoch": float(best.epoch)}
    return found


def _by_epoch(logged: list[tuple[int, int]]) -> dict[int, int]:
    """Return times by epoch; an epoch that is there twice gets a time that no epoch has."""
    times: dict[int, int] = {}
    for epoch, time_ms in logged:
        times[epoch] = -1 if epoch in times else time_ms
    return times


def unix_ms(time_text: str) -> int:
    """Return an ISO 8601 time as Unix milliseconds.

    >>> unix_ms("1970-01-01T00:00:01.500+00:00")
    1500
    """
    return round(datetime.fromisoformat(time_text).timestamp() * 1000)
