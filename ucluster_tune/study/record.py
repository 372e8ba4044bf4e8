"""The state of a study, as a fold over the events of its journal; pure data.

Applying an event costs the same however many trials there are; only the failure of the best trial,
or an epoch that is run again, looks at all trials once.

A trial's score is the objective at its best epoch, since the checkpoint of that epoch is what is
kept. Epochs of the clustering phase go before those of the pretraining phase, whose losses and
centroids are something else: see `epoch_rank`. A failed trial is never the best one.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.budget import budget_of, n_asked, with_time_limit
from ucluster_tune.study.events import (
    ConfirmationEnded,
    ConfirmationPlanned,
    EpochEnded,
    Event,
    StudyCopied,
    StudyEnded,
    StudyEvaluated,
    StudyExtended,
    StudyResumed,
    StudyStarted,
    StudyState,
    StudyTracked,
    TrainingEvaluated,
    TrainingStarted,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
    TrialTracked,
    YardsticksMeasured,
    seconds_between,
)
from ucluster_tune.study.finalists import Confirmation
from ucluster_tune.study.ranking import ValuesAtEpoch
from ucluster_tune.study.spending import Spending
from ucluster_tune.study.trainings import (
    FIRST,
    Outcome,
    TrainingPlan,
    TrainingState,
    TrialState,
    Value,
)
from ucluster_tune.training.yardsticks import Yardsticks, with_interval
from ucluster_tune.trial.failures import FAILURE_KINDS, NodeLostError

_NODE_LOST = FAILURE_KINDS[NodeLostError].name


def trial_number_to_id(number: int) -> str:
    """Return the id of the n-th trial, counted from 1.

    >>> trial_number_to_id(7)
    '0007'
    """
    return f"{number:04d}"


def as_trial_id(text: str) -> str:
    """Return the id of the trial that a text means, be it that or its number.

    >>> as_trial_id("7"), as_trial_id("0007"), as_trial_id("published")
    ('0007', '0007', 'published')
    """
    return trial_number_to_id(int(text)) if text.isascii() and text.isdecimal() else text


def _key(event: TrialPlaced | TrialRestored | EpochEnded | TrialResumed | TrialEnded) -> str:
    return f"{event.trial}.{event.training}"


def _fitted_resources(fitted: Mapping[str, Value]) -> dict[str, Value]:
    return {
        path.removeprefix("resources."): value
        for path, value in fitted.items()
        if path.startswith("resources.")
    }


class StudyRecord:
    """A study as its journal tells it.

    Args:
        started: the first event of the journal.

    Attributes:
        name: of the study; of one that was read from a file, the name of its folder.
        recorded_name: the name that its events tell: another one where the folder was renamed.
        trials: of the search, by id.
        other_trials: that nobody suggested, such as baselines: no training of them is searched.
        running: trials of the search that run.
        running_trainings: all that run, by the ids of trial and training.
        values_at: the objective of the search's trials after each epoch.
        spending: hours of cores and GPUs that trainings of the search held.
        is_labelled: whether its jets have classes; without, there is no accuracy of anything.
        yardsticks: what simple ways to cluster reach on the same jets, once measured.
        confirmations: of finalists, by id, in order.
        is_confirming: whether the driver at work confirms finalists; the search stands still.
    """

    def __init__(self, started: StudyStarted) -> None:
        self.name = self.recorded_name = started.name
        self.config = started.config
        self.budget = budget_of(started.config)
        self.fitted = started.fitted
        self.code_version = started.code_version
        self.dataset_checksum = started.dataset_checksum
        self.tracking_uri = started.tracking_uri
        self.experiment_id = started.experiment_id
        self.run_id: str | None = None
        self.study_id = started.study_id
        self.seed = started.seed
        self.reference_accuracy = started.reference_accuracy
        self.baselines: dict[str, Any] = dict(started.baselines)
        self.objective = ObjectiveConfig(**started.config.get("objective", {}))
        self.warm_start = started.warm_start
        self.is_labelled = started.is_labelled
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
        self.other_trials: dict[str, TrialState] = {}
        self.running: dict[str, TrialState] = {}
        self.running_trainings: dict[tuple[str, str], TrainingState] = {}
        self.n_by_outcome: Counter[Outcome] = Counter()
        self.epochs_of_finished = 0
        self.best: TrialState | None = None
        self.values_at: defaultdict[int, ValuesAtEpoch] = defaultdict(ValuesAtEpoch)
        self.tests: dict[str, dict[str, Any]] = {}
        self.yardsticks: Yardsticks | None = None
        self.confirmations: dict[str, Confirmation] = {}
        self.spending = Spending()
        self._search_ended: tuple[StudyState, str | None, str | None] | None = None

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

    @property
    def is_confirming(self) -> bool:
        """Whether the driver at work confirms finalists."""
        return self._search_ended is not None

    @property
    def confirmed(self) -> Confirmation | None:
        """The newest confirmation that has a result."""
        return next((c for c in reversed(self.confirmations.values()) if c.result), None)

    @property
    def open_confirmation(self) -> Confirmation | None:
        """The newest confirmation, where it has no result yet."""
        newest = next(reversed(self.confirmations.values()), None)
        return newest if newest is not None and newest.result is None else None

    def apply(self, event: Event) -> None:
        """Take in the next event; StudyError when it contradicts those before it."""
        match event:
            case EpochEnded():
                self._add_epoch(event)
            case TrialStarted():
                self._start_trial(event)
            case TrialResumed():
                self._resume_trial(event)
            case TrainingStarted():
                self._start_training(event)
            case TrialRestored():
                training = self._training(event)
                training.waiting_since = None
                self._hold(event, training)
                training.restored_epochs.append(event.epoch)
                training.n_epochs_again += max(0, training.epochs - event.epoch)
            case TrialPlaced():
                training = self._training(event)
                training.waiting_since = None
                self._hold(event, training)
            case TrialTracked():
                self._training(event).run_id = event.run_id
            case TrialEnded():
                self._end_training(event)
            case StudyEvaluated():
                self.tests[self._trial(event.trial).id] = with_interval(event.test)
                self.baselines.update(event.baselines)
            case TrainingEvaluated():
                self._training(event).test = event.test
            case YardsticksMeasured() | ConfirmationPlanned() | ConfirmationEnded():
                self._take_answer(event)
            case _:
                self._apply_to_study(event)
        self.last_event = event.time

    def _apply_to_study(
        self,
        event: StudyStarted
        | StudyResumed
        | StudyExtended
        | StudyCopied
        | StudyTracked
        | StudyEnded,
    ) -> None:
        match event:
            case StudyStarted():
                raise StudyError(f"study {self.name}: its record starts twice")
            case StudyResumed():
                if event.purpose == "confirmation":
                    self._search_ended = self.state, self.cause, self.ended
                else:
                    self.session_started, self.fitted = event.time, event.fitted
                    self.n_sessions += 1
                self.state, self.cause, self.ended = "running", None, None
            case StudyExtended():
                self.config = with_time_limit(event.config, event.until)
                self.budget = budget_of(self.config)
                self.extensions.append(event.changes)
                for trial in (*self.trials.values(), *self.other_trials.values()):
                    trial.hyperparameters = {**trial.hyperparameters, **event.fixed}
            case StudyCopied():
                self.name = self.recorded_name = event.name
                self.config = {**self.config, "name": event.name}
                self.study_id = event.study_id
                self.forget_runs()
            case StudyTracked():
                self.tracking_uri, self.run_id = event.tracking_uri, event.run_id
                self.experiment_id = event.experiment_id
            case StudyEnded() if self._search_ended is not None:
                self.state, self.cause, self.ended = self._search_ended
                self._search_ended = None
            case StudyEnded():
                self.state, self.cause, self.ended = event.state, event.cause, event.time
                self.elapsed_before_s += seconds_between(self.session_started, event.time)

    def _take_answer(
        self, event: YardsticksMeasured | ConfirmationPlanned | ConfirmationEnded
    ) -> None:
        match event:
            case YardsticksMeasured():
                self.yardsticks = event.yardsticks
            case ConfirmationPlanned():
                self.confirmations[event.plan.id] = Confirmation(event.plan)
            case ConfirmationEnded() if event.confirmation in self.confirmations:
                self.confirmations[event.confirmation].result = event.result
            case _:
                raise self._contradiction(
                    f"confirmation {event.confirmation} ends and never began"
                )

    def _start_trial(self, event: TrialStarted) -> None:
        if event.trial in self.trials or event.trial in self.other_trials:
            raise StudyError(f"study {self.name}: trial {event.trial} starts twice in its record")
        is_of_search = event.training.role == "search"
        n_seeds = self.objective.seeds_per_trial if is_of_search else 1
        trial = TrialState(
            event.trial, event.hyperparameters, event.sampler_attributes, {}, n_seeds
        )
        (self.trials if is_of_search else self.other_trials)[trial.id] = trial
        self._begin(trial, event.training, event.time)

    def _start_training(self, event: TrainingStarted) -> None:
        trial, plan = self._trial(event.trial), event.training
        if plan.id in trial.trainings:
            raise self._contradiction(f"training {plan.id} of trial {trial.id} starts twice")
        if plan.role == "search" and trial.id in self.other_trials:
            raise self._contradiction(f"trial {trial.id}, that nobody suggested, is searched")
        if plan.parent is not None:
            parent = self._trial(plan.parent.trial).trainings.get(plan.parent.training)
            if parent is None or parent.epochs < plan.parent.epoch:
                raise self._contradiction(
                    f"training {plan.id} of trial {trial.id} begins from an epoch that never was"
                )
        self._begin(trial, plan, event.time)

    def _begin(self, trial: TrialState, plan: TrainingPlan, time: str) -> None:
        hyperparameters = {**trial.hyperparameters, **plan.hyperparameters}
        training = TrainingState(
            plan, self._n_epochs(hyperparameters), started=time, waiting_since=time
        )
        before = trial.outcome if trial.trainings else None
        trial.trainings[plan.id] = training
        self._count(trial, before, training)

    def _count(self, trial: TrialState, before: Outcome | None, training: TrainingState) -> None:
        """Take in that a training of a trial, which had an outcome before, has begun or ended."""
        key = (trial.id, training.plan.id)
        if training.outcome == "running":
            self.running_trainings[key] = training
        else:
            self.running_trainings.pop(key, None)
        if trial.id not in self.trials:
            return
        if before is not None:
            self.n_by_outcome[before] -= 1
        self.n_by_outcome[trial.outcome] += 1
        if trial.outcome == "running":
            self.running[trial.id] = trial
        else:
            self.running.pop(trial.id, None)

    def _resume_trial(self, event: TrialResumed) -> None:
        trial, training = self._trial(event.trial), self._training(event)
        if training.outcome not in ("interrupted", "running"):
            raise self._contradiction(
                f"trial {event.trial} ended {training.outcome} and is resumed"
            )
        before = trial.outcome
        training.outcome, training.cause, training.ended = "running", None, None
        self._count(trial, before, training)
        has_lost_place = event.kind is not None or not event.is_retry
        training.waiting_since = event.time if has_lost_place else None
        if has_lost_place:
            self.spending.release(_key(event), event.time)
        training.n_lost_nodes += event.kind == _NODE_LOST
        if event.is_retry:
            training.retry_causes.append(event.cause)

    def _add_epoch(self, event: EpochEnded) -> None:
        trial, training = self._trial(event.trial), self._training(event)
        number = event.record.epoch
        training.waiting_since = None
        self._hold(event, training)
        training.times[number] = event.time
        is_run_again = bool(training.records) and number <= training.epochs
        last = training.epochs
        training.add(event.record, self.objective)
        if training.plan.role != "search":
            return
        if training is trial.shown:
            for later in range(number, last + 1) if is_run_again else ():
                self.values_at[later].remove(trial.id)
            value = event.record.value(self.objective.metric)
            if value is not None:
                self.values_at[number].add(trial.id, value)
        if is_run_again:
            self._choose_best()
        else:
            self._compare_with_best(trial)

    def _compare_with_best(self, trial: TrialState) -> None:
        if trial.rank is not None and (
            self.best is None or self.best.rank is None or trial.rank > self.best.rank
        ):
            self.best = trial

    def _end_training(self, event: TrialEnded) -> None:
        trial, training = self._trial(event.trial), self._training(event)
        before = trial.outcome
        training.outcome, training.cause, training.ended = event.outcome, event.cause, event.time
        training.kind, training.waiting_since = event.kind, None
        self.spending.release(_key(event), event.time)
        self._count(trial, before, training)
        if training.plan.role != "search":
            return
        if training.outcome != "interrupted":
            self.epochs_of_finished += training.epochs_run
        if trial.outcome != "failed":
            self._compare_with_best(trial)  # of several seeds the last one tells
        elif trial is self.best:
            self._choose_best()

    def _hold(
        self, event: TrialPlaced | TrialRestored | EpochEnded, training: TrainingState
    ) -> None:
        """Take in that a training of the search has its cores and GPUs, as an event tells."""
        if training.plan.role != "search":
            return
        given = {**self.config.get("resources", {}), **_fitted_resources(self.fitted)}
        resources = ResourcesConfig.model_validate(given)
        n_workers = training.plan.world_size or resources.n_workers
        n_cores, n_gpus = (
            n_workers * each for each in (resources.cpus_per_worker, resources.gpus_per_worker)
        )
        self.spending.hold(_key(event), event.time, n_cores, n_gpus)

    def forget_runs(self) -> None:
        """Take it that no store of MLflow has the study."""
        self.run_id = None
        for trial in (*self.trials.values(), *self.other_trials.values()):
            for training in trial.trainings.values():
                training.run_id = None

    def is_searched(self, event: Event) -> bool:
        """Return whether an event that was applied is about a training of the search."""
        trial = self.trials.get(getattr(event, "trial", ""))
        if trial is None or isinstance(event, StudyEvaluated):
            return False
        told = getattr(event, "training", FIRST)
        training_id = told.id if isinstance(told, TrainingPlan) else told
        return trial.trainings[training_id].plan.role == "search"

    def is_on_curve(self, event: Event) -> bool:
        """Return whether it is about the training that a trial's curve is of, and its judge's."""
        trial = self.trials.get(getattr(event, "trial", ""))
        return trial is not None and getattr(event, "training", FIRST) == trial.shown.plan.id

    def _choose_best(self) -> None:
        ranked = [
            (trial.rank, trial)
            for trial in self.trials.values()
            if trial.rank is not None and trial.outcome != "failed"
        ]
        self.best = max(ranked, key=lambda pair: pair[0])[1] if ranked else None

    def _trial(self, trial_id: str) -> TrialState:
        trial = self.trials.get(trial_id) or self.other_trials.get(trial_id)
        if trial is None:
            raise StudyError(
                f"study {self.name}: trial {trial_id} is in its record but never starts there"
            )
        return trial

    def _training(
        self,
        event: EpochEnded
        | TrialPlaced
        | TrialTracked
        | TrialResumed
        | TrialRestored
        | TrialEnded
        | TrainingEvaluated,
    ) -> TrainingState:
        training = self._trial(event.trial).trainings.get(event.training)
        if training is None:
            raise StudyError(
                f"study {self.name}: training {event.training} of trial {event.trial} is in its"
                " record but never starts there"
            )
        return training

    def _contradiction(self, what: str) -> StudyError:
        return StudyError(f"study {self.name}: {what} in its record")

    def _n_epochs(self, hyperparameters: Mapping[str, Value]) -> int:
        return int(hyperparameters.get("training.n_epochs", self.n_epochs))
