"""The state of a study, as a fold over the events of its journal; pure data.

Applying an event costs the same however many trials there are; only the failure of the best trial,
or an epoch that is run again, looks at all trials once.

A trial's score is the objective at its best epoch, since the checkpoint of that epoch is what is
kept. Epochs of the clustering phase go before those of the pretraining phase, whose losses and
centroids are something else: see `epoch_rank`. A failed trial is never the best one.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.budget import budget_of, n_asked, with_time_limit
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    Outcome,
    StudyEnded,
    StudyEvaluated,
    StudyExtended,
    StudyResumed,
    StudyStarted,
    StudyState,
    StudyTracked,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
    TrialTracked,
    Value,
)
from ucluster_tune.study.ranking import ValuesAtEpoch
from ucluster_tune.training.record import EpochRecord, Rank, epoch_rank
from ucluster_tune.trial.failures import FAILURE_KINDS, NodeLostError

_NODE_LOST = FAILURE_KINDS[NodeLostError].name


def trial_number_to_id(number: int) -> str:
    """Return the id of the n-th trial, counted from 1.

    >>> trial_number_to_id(7)
    '0007'
    """
    return f"{number:04d}"


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one ISO 8601 time to another, 0 where a clock was set back.

    >>> seconds_between("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00")
    90.0
    """
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, passed.total_seconds())


@dataclass
class TrialState:
    """All that is known of one trial.

    Attributes:
        kind: of its failure, as `trial.failures` names it.
        run_id: of MLflow, None until MLflow has told it.
        records: one an epoch, in order.
        times: when each epoch ended, ISO 8601, by epoch.
        retry_causes: why its workers were lost and started again.
        n_lost_nodes: how often it goes on because its node was lost.
        waiting_since: it runs, but not yet: its CPUs and GPUs are not free or not there yet.
        restored_epochs: the checkpoints that it went on from.
        n_epochs_again: epochs run a second time, since no checkpoint of them was left.
    """

    id: str
    hyperparameters: dict[str, Value]
    run_id: str | None
    n_epochs: int
    started: str
    outcome: Outcome = "running"
    cause: str | None = None
    kind: str | None = None
    sampler_attributes: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None
    records: list[EpochRecord] = field(default_factory=list)
    times: dict[int, str] = field(default_factory=dict)
    retry_causes: list[str] = field(default_factory=list)
    n_lost_nodes: int = 0
    waiting_since: str | None = None
    restored_epochs: list[int] = field(default_factory=list)
    n_epochs_again: int = 0
    best: EpochRecord | None = None
    rank: Rank | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for CPUs and GPUs, at its start or in place of those it lost."""
        return self.waiting_since is not None

    @property
    def epochs(self) -> int:
        """Epochs finished."""
        return self.records[-1].epoch if self.records else 0

    @property
    def warnings(self) -> list[str]:
        """Signs, in the last epoch, that the training goes wrong: see `training.health`."""
        return self.records[-1].warnings if self.records else []

    @property
    def best_epoch(self) -> int | None:
        """The epoch that gives the trial its score."""
        return self.best.epoch if self.best else None

    def score(self, objective: ObjectiveConfig) -> float | None:
        """Return the objective at the best epoch."""
        return self.best.value(objective.metric) if self.best else None

    def objective_by_epoch(self, objective: ObjectiveConfig) -> dict[int, float]:
        """Return the finite values of the objective, by epoch."""
        values = {epoch.epoch: epoch.value(objective.metric) for epoch in self.records}
        return {number: value for number, value in values.items() if value is not None}

    def has(self, epoch: EpochRecord) -> bool:
        """Return whether it has the epoch with this result, at whatever speed it was run."""
        if epoch.epoch > self.epochs:
            return False
        return any(known.is_same_training(epoch) for known in self.records)

    def add(self, epoch: EpochRecord, objective: ObjectiveConfig) -> None:
        """Add an epoch; one that was run again replaces the old one and all after it."""
        if epoch.epoch <= self.epochs:
            kept = [old for old in self.records if old.epoch < epoch.epoch]
            self.records, self.best, self.rank = [], None, None
            for old in kept:
                self.add(old, objective)
        self.records.append(epoch)
        rank = epoch_rank(epoch, objective)
        if rank is not None and (self.rank is None or rank > self.rank):
            self.best, self.rank = epoch, rank


class StudyRecord:
    """A study as its journal tells it.

    Args:
        started: the first event of the journal.
    """

    def __init__(self, started: StudyStarted) -> None:
        self.name = started.name
        self.config = started.config
        self.budget = budget_of(started.config)
        self.fitted = started.fitted
        self.code_version = started.code_version
        self.dataset_checksum = started.dataset_checksum
        self.tracking_uri = started.tracking_uri
        self.experiment_id = started.experiment_id
        self.run_id = started.run_id
        self.study_id = started.study_id
        self.seed = started.seed
        self.reference_accuracy = started.reference_accuracy
        self.baselines: dict[str, Any] = dict(started.baselines)
        self.objective = ObjectiveConfig(**started.config.get("objective", {}))
        self.warm_start = started.warm_start
        self.started = started.time
        self.session_started = started.time
        self.elapsed_before_s = 0.0
        self.n_sessions = 1
        self.extensions: list[list[str]] = []
        self.last_event = started.time
        self.ended: str | None = None
        self.state: StudyState = "running"
        self.cause: str | None = None
        self.trials: dict[str, TrialState] = {}
        self.running: dict[str, TrialState] = {}
        self.n_by_outcome: Counter[Outcome] = Counter()
        self.epochs_of_finished = 0
        self.best: TrialState | None = None
        self.values_at: defaultdict[int, ValuesAtEpoch] = defaultdict(ValuesAtEpoch)
        self.tests: dict[str, dict[str, Any]] = {}

    @property
    def n_trials(self) -> int:
        """Trials that the study was asked for; those begun so far where only a time limits it."""
        return n_asked(self)

    @property
    def is_open_ended(self) -> bool:
        """Whether trials begin until a time, not up to a number."""
        return self.budget.n_trials is None

    @property
    def until(self) -> str | None:
        """When the last trial may begin, ISO 8601; None where there is no such time."""
        return self.budget.until

    @property
    def n_epochs(self) -> int:
        """Epochs of a trial, where that is not searched."""
        return int(self.config.get("training", {}).get("n_epochs", 0))

    @property
    def n_finished(self) -> int:
        """Trials that ended and will not go on: complete, stopped early or failed."""
        counts = self.n_by_outcome
        return counts["complete"] + counts["stopped_early"] + counts["failed"]

    @property
    def best_test(self) -> dict[str, Any] | None:
        """What the best trial's best checkpoint reached on test jets, once measured."""
        return self.tests.get(self.best.id) if self.best else None

    def apply(self, event: Event) -> None:
        """Take in the next event; StudyError when it contradicts those before it."""
        match event:
            case EpochEnded():
                self._add_epoch(event)
            case TrialStarted():
                self._start_trial(event)
            case TrialResumed():
                self._resume_trial(event)
            case TrialRestored():
                trial = self._trial(event.trial)
                trial.waiting_since = None
                trial.restored_epochs.append(event.epoch)
                trial.n_epochs_again += max(0, trial.epochs - event.epoch)
            case TrialPlaced():
                self._trial(event.trial).waiting_since = None
            case TrialTracked():
                self._trial(event.trial).run_id = event.run_id
            case TrialEnded():
                self._end_trial(event)
            case StudyEvaluated():
                self.tests[self._trial(event.trial).id] = event.test
                self.baselines.update(event.baselines)
            case _:
                self._apply_to_study(event)
        self.last_event = event.time

    def _apply_to_study(
        self, event: StudyStarted | StudyResumed | StudyExtended | StudyTracked | StudyEnded
    ) -> None:
        match event:
            case StudyStarted():
                raise StudyError(f"study {self.name}: its record starts twice")
            case StudyResumed():
                self.state, self.cause, self.ended = "running", None, None
                self.session_started, self.fitted = event.time, event.fitted
                self.n_sessions += 1
            case StudyExtended():
                self.config = with_time_limit(event.config, event.until)
                self.budget = budget_of(self.config)
                self.extensions.append(event.changes)
                for trial in self.trials.values():
                    trial.hyperparameters = {**trial.hyperparameters, **event.fixed}
            case StudyTracked():
                self.tracking_uri, self.run_id = event.tracking_uri, event.run_id
                self.experiment_id = event.experiment_id
            case StudyEnded():
                self.state, self.cause, self.ended = event.state, event.cause, event.time
                self.elapsed_before_s += seconds_between(self.session_started, event.time)

    def _start_trial(self, event: TrialStarted) -> None:
        if event.trial in self.trials:
            raise StudyError(f"study {self.name}: trial {event.trial} starts twice in its record")
        trial = TrialState(
            id=event.trial,
            hyperparameters=event.hyperparameters,
            run_id=event.run_id,
            sampler_attributes=event.sampler_attributes,
            n_epochs=self._n_epochs(event.hyperparameters),
            started=event.time,
            waiting_since=event.time,
        )
        self.trials[trial.id] = self.running[trial.id] = trial
        self.n_by_outcome[trial.outcome] += 1

    def _resume_trial(self, event: TrialResumed) -> None:
        trial = self._trial(event.trial)
        if trial.outcome not in ("interrupted", "running"):
            raise StudyError(
                f"study {self.name}: trial {event.trial} ended {trial.outcome} and is resumed in"
                " its record"
            )
        self.n_by_outcome[trial.outcome] -= 1
        self.n_by_outcome["running"] += 1
        trial.outcome, trial.cause, trial.ended = "running", None, None
        self.running[trial.id] = trial
        has_lost_place = event.kind is not None or not event.is_retry
        trial.waiting_since = event.time if has_lost_place else None
        trial.n_lost_nodes += event.kind == _NODE_LOST
        if event.is_retry:
            trial.retry_causes.append(event.cause)

    def _add_epoch(self, event: EpochEnded) -> None:
        trial = self._trial(event.trial)
        trial.waiting_since = None
        trial.times[event.record.epoch] = event.time
        is_run_again = event.record.epoch <= trial.epochs
        if is_run_again:
            for number in range(event.record.epoch, trial.epochs + 1):
                self.values_at[number].remove(trial.id)
        trial.add(event.record, self.objective)
        value = event.record.value(self.objective.metric)
        if value is not None:
            self.values_at[event.record.epoch].add(trial.id, value)
        if is_run_again:
            self._choose_best()
        elif trial.rank is not None and (
            self.best is None or self.best.rank is None or trial.rank > self.best.rank
        ):
            self.best = trial

    def _end_trial(self, event: TrialEnded) -> None:
        trial = self._trial(event.trial)
        self.n_by_outcome[trial.outcome] -= 1
        self.n_by_outcome[event.outcome] += 1
        trial.outcome, trial.cause, trial.ended = event.outcome, event.cause, event.time
        trial.kind, trial.waiting_since = event.kind, None
        self.running.pop(trial.id, None)
        if trial.outcome != "interrupted":
            self.epochs_of_finished += trial.epochs
        if trial is self.best and trial.outcome == "failed":
            self._choose_best()

    def _choose_best(self) -> None:
        ranked = [
            (trial.rank, trial)
            for trial in self.trials.values()
            if trial.rank is not None and trial.outcome != "failed"
        ]
        self.best = max(ranked, key=lambda pair: pair[0])[1] if ranked else None

    def _trial(self, trial_id: str) -> TrialState:
        try:
            return self.trials[trial_id]
        except KeyError:
            raise StudyError(
                f"study {self.name}: trial {trial_id} is in its record but never starts there"
            ) from None

    def _n_epochs(self, hyperparameters: Mapping[str, Value]) -> int:
        return int(hyperparameters.get("training.n_epochs", self.n_epochs))
