"""The process that drives a study: from Tune's calls to the journal, MLflow and the observers.

Order matters: first the journal, which is the truth, then all that can be rebuilt from it.
"""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.one_trial import study_of_one
from ucluster_tune.config.search_space import trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import CheckpointError, ConfigurationError, StudyError
from ucluster_tune.search.process_loss import failure_of
from ucluster_tune.storage.whole_files import cannot_be_written, write_whole
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    FinalOutcome,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
    Value,
    utc_now,
)
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.observers import Observer
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord, TrialState, seconds_between
from ucluster_tune.training.record import RECORD_FIELDS, SPEED_FIELDS
from ucluster_tune.trial.failures import FAILURE_KINDS, in_one_line, kind_of, same_cause
from ucluster_tune.trial.processes.nodes import living_node_ids
from ucluster_tune.trial.trainable import (
    EARLIER,
    FAILURE,
    FAILURE_KIND,
    N_RETRIES,
    RESTORED_EPOCH,
    RETRIES,
)

_LOGGER = logging.getLogger(__name__)


class StudyDriver(tune.Callback):
    """Tune's callback; keeps the books of a study.

    Args:
        config: of the study.
        paths: its files.
        journal: open, with all that the record has.
        record: the state that the journal tells.
        observers: told of every event.

    Attributes:
        trial_changed: told of every trial of which there is news.
        give_up: ends a trial that Tune is about to start again.
        lock: held while journal and record change; whoever reads the record in another thread
            takes it.
        is_interrupted: set by whoever wants the search to end in order.
        stop_cause: why the search ends by itself before its budget; None where it does not.
        fatal: what no trial can go on after: the study's storage is full, read-only or gone. Tune
            takes an error for one trial's own, so whoever runs Tune looks here too.
    """

    def __init__(
        self,
        config: StudyConfig,
        paths: StudyPaths,
        journal: StudyJournal,
        record: StudyRecord,
        observers: Sequence[Observer],
    ) -> None:
        self.config, self.paths, self.record = config, paths, record
        self.lock = threading.RLock()
        self.is_interrupted = False
        self.stop_cause: str | None = None
        self.fatal: StudyError | None = None
        self._in_epoch: set[str] = set()
        self._journal = journal
        self._observers = observers
        self.trial_changed: Callable[[str], None] = lambda _trial_id: None
        self.give_up: Callable[[Trial], None] = lambda _trial: None
        self._failures_in_a_row: list[str] = []
        self._nodes: dict[str, frozenset[str]] = {}  # that lived when a trial's process began
        self._n_retries: Counter[str] = Counter()  # by this driver

    @property
    def is_in_epoch(self) -> bool:
        """Whether a trial runs whose process has started."""
        return bool(self._in_epoch)

    def may_begin(self, n_begun: int) -> bool:
        """Return whether the budget has another trial, when so many have begun."""
        if self.record.until is None:
            return n_begun < self.record.n_trials
        return datetime.now(UTC) < datetime.fromisoformat(self.record.until)

    def tell_start(self) -> None:
        """Tell the observers that the study began."""
        for observer in self._observers:
            observer.on_study_start(self.config, self.record)

    def tell_end(self) -> None:
        """Tell the observers that the study ended."""
        for observer in self._observers:
            observer.on_study_end(self.record)

    def note(self, event: Event) -> None:
        """Write an event to the journal, take it into the record, tell the observers."""
        with self.lock:
            try:
                self._journal.append(event)
            except StudyError as error:
                raise self.end_for(str(error)) from error
            self.record.apply(event)
            _LOGGER.info("%s", event.line())
            for observer in self._observers:
                observer.on_event(event, self.record)

    def begin_trial(
        self, trial_id: str, hyperparameters: dict[str, Value]
    ) -> dict[str, Any] | None:
        """Return Tune's configuration of a new trial; None where it would not be a legal one."""
        self._note_of_trial(TrialStarted(trial=trial_id, hyperparameters=hyperparameters))
        return self._tune_config(self.record.trials[trial_id])

    def resume_trial(self, trial: TrialState) -> dict[str, Any] | None:
        """Return the same of a trial that was interrupted."""
        cause = trial.cause or "interrupted"
        self._note_of_trial(TrialResumed(trial=trial.id, cause=cause))
        return self._tune_config(trial)

    def _tune_config(self, trial: TrialState) -> dict[str, Any] | None:
        files = self.paths.trial(trial.id)
        try:
            config = trial_config(self.config, trial.hyperparameters)
        except ConfigurationError as error:
            self._end_trial(trial.id, "failed", str(error), kind_of(error).name)
            return None
        try:
            files.root.mkdir(parents=True, exist_ok=True)
            write_whole(files.config, dump_config(study_of_one(self.config, config)))
        except OSError as error:
            raise self.end_for(cannot_be_written(files.config, error)) from error
        return {
            "trial_id": trial.id,
            "trial_config": config.model_dump(mode="json"),
            "trial_folder": files.place,
            "resources": self.config.resources.model_dump(mode="json"),
            "objective": self.config.objective.model_dump(mode="json"),
            "failures": self.config.failures.model_dump(mode="json"),
        }

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial's process has started."""
        del iteration, trials, info
        self.refuse_fatal()
        trial_id = trial.config["trial_id"]
        self._in_epoch.add(trial_id)
        since = self.record.trials[trial_id].waiting_since
        if since is not None:
            waited_s = round(seconds_between(since, utc_now()), 1)
            self.note(TrialPlaced(trial=trial_id, waited_s=waited_s))
        self._nodes[trial_id] = living_node_ids()

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Take in an epoch; one that the record has already is not taken in again.

        Of earlier ones, which a driver knew that is gone with its machine, those that it lacks.
        """
        del iteration, trials, info
        self.refuse_fatal()
        state = self.record.trials[trial.config["trial_id"]]
        for cause in result.get(RETRIES, ()):
            self._n_retries[state.id] += 1
            self._note_of_trial(TrialResumed(trial=state.id, cause=cause, is_retry=True))
        restored = result.get(RESTORED_EPOCH)
        if restored is not None and (restored or state.epochs):
            self._note_of_trial(TrialRestored(trial=state.id, epoch=restored))
        if FAILURE in result:
            return  # told with the trial's end
        for earlier in result.get(EARLIER, ()):
            if earlier["epoch"] > state.epochs:
                self._note_of_trial(EpochEnded(trial=state.id, record=earlier))
        epoch = {name: result[name] for name in RECORD_FIELDS if name in result}
        if not any(is_same_training(known, epoch) for known in state.records):
            self._note_of_trial(EpochEnded(trial=state.id, record=epoch))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial ended, at its last epoch or because Tune stopped it."""
        del iteration, trials, info
        self.refuse_fatal()
        state = self.record.trials[trial.config["trial_id"]]
        last = trial.last_result or {}
        if FAILURE in last:
            self._fail_trial(state.id, last[FAILURE], last[FAILURE_KIND])
        elif state.epochs >= state.n_epochs:
            self._end_trial(state.id, "complete", "; ".join(state.warnings) or None)
        elif self.is_interrupted or state.epochs == 0:
            self._end_trial(state.id, "interrupted", "the search was interrupted")
        else:
            why = [f"stopped by {self.config.scheduler.name}", *state.warnings]
            self._end_trial(state.id, "stopped_early", "; ".join(why))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that Tune starts a trial again, whose process or node was lost.

        Tune itself would do so without end: what is worth another try is decided here.
        """
        del iteration, trials, info
        self.refuse_fatal()
        trial_id = trial.config["trial_id"]
        self._in_epoch.discard(trial_id)
        failure = failure_of(
            trial, self._nodes.get(trial_id, frozenset()), lambda: self.is_interrupted
        )
        kind = failure.kind
        n_retries = self._n_retries[trial_id] + kind.is_counted
        if not kind.is_retried or n_retries > self.config.failures.max_retries:
            self._fail_trial(trial_id, failure.cause, kind.name)
            self.give_up(trial)
            return
        trial.config[N_RETRIES] = self._n_retries[trial_id] = n_retries
        self._note_of_trial(
            TrialResumed(
                trial=trial_id, cause=failure.cause, is_retry=kind.is_counted, kind=kind.name
            )
        )

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that Tune gave a trial up."""
        del iteration, trials, info
        self.refuse_fatal()
        failure = failure_of(trial, frozenset(), lambda: True)
        self._fail_trial(trial.config["trial_id"], failure.cause, failure.kind.name)

    def has_failed(self, trial_id: str) -> bool:
        """Return whether a trial ended with a failure."""
        return self.record.trials[trial_id].outcome == "failed"

    def end_running_trials(self, cause: str) -> None:
        """Mark all trials that still run as interrupted."""
        for trial_id in list(self.record.running):
            self._end_trial(trial_id, "interrupted", cause)

    def refuse_fatal(self) -> None:
        """Raise what the search cannot go on after, where there is such a thing."""
        if self.fatal is not None:
            raise self.fatal

    def end_for(self, cause: str) -> StudyError:
        """Return what the search ends for: the first such cause, since others follow from it."""
        if self.fatal is None:
            self.fatal = StudyError(
                f"{cause}. Then carry the study on with `ucluster-tune resume {self.paths.name}`"
            )
        return self.fatal

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}

    def _fail_trial(self, trial_id: str, cause: str, kind: str) -> None:
        if kind == FAILURE_KINDS[CheckpointError].name:
            # Not the trial's fault, and it would be that of all others: the disk is full or gone.
            fatal = self.end_for(cause)
            self._end_trial(trial_id, "interrupted", cause)
            raise fatal
        self._end_trial(trial_id, "failed", cause, kind)
        limit = self.config.failures.stop_after_same_cause
        if limit is not None and len(self._failures_in_a_row) >= limit:
            told = in_one_line(kind, cause)
            self.stop_cause = f"{limit} trials in a row failed for the same cause: {told}"
            self.is_interrupted = True

    def _end_trial(
        self, trial_id: str, outcome: FinalOutcome, cause: str | None = None, kind: str = ""
    ) -> None:
        self._in_epoch.discard(trial_id)
        state = self.record.trials[trial_id]
        if state.outcome != "running":
            return
        self._note_of_trial(
            TrialEnded(
                trial=trial_id,
                outcome=outcome,
                cause=cause,
                kind=kind or None,
                epochs=state.epochs,
            )
        )
        if outcome == "failed":
            _LOGGER.error("trial %s failed: %s", trial_id, cause)
            common = same_cause(kind, cause or "")
            in_a_row = [same for same in self._failures_in_a_row if same == common]
            self._failures_in_a_row = [*in_a_row, common]
        elif outcome != "interrupted":
            self._failures_in_a_row = []

    def _note_of_trial(
        self, event: TrialStarted | TrialResumed | TrialRestored | EpochEnded | TrialEnded
    ) -> None:
        self.note(event)
        self.trial_changed(event.trial)


def is_same_training(known: dict[str, Any], epoch: dict[str, Any]) -> bool:
    """Return whether two records are of the same epoch with the same result, at whatever speed."""
    if known["epoch"] != epoch["epoch"]:
        return False
    names = [name for name in RECORD_FIELDS if name not in SPEED_FIELDS]
    return all(_comparable(known.get(name)) == _comparable(epoch.get(name)) for name in names)


def _comparable(value: Any) -> Any:
    """Return a value as the journal keeps it: none that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
