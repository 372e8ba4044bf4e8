"""The life of a study's trials: begun, resumed, taken on epoch by epoch, judged, ended.

What Tune calls a trial is one training: it is known by the id of its trial, and that of a further
training of it stands after a dot, as in `0003.c1-seed-7`.

Knows nothing of how Ray Tune calls. All that happens goes into the study's record first, and
whoever has to know follows the record: see `study.keeper`.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.one_trial import study_of_one
from ucluster_tune.config.points import least_and_most, trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import CheckpointError, ConfigurationError
from ucluster_tune.search.allocation import Allocation
from ucluster_tune.search.samplers.asking import Suggestion
from ucluster_tune.search.schedulers import build_judge, kept_epochs
from ucluster_tune.search.schedulers.decision import Decision, GoOnAs, Verdict, verdict_so_far
from ucluster_tune.storage.whole_files import cannot_be_written, write_whole
from ucluster_tune.study.budget import overspent
from ucluster_tune.study.events import (
    EpochEnded,
    FinalOutcome,
    TrainingStarted,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
    seconds_between,
    utc_now,
)
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.trainings import (
    FIRST,
    TrainingPlan,
    TrainingState,
    TrialState,
    Value,
    further_seeds,
)
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.failures import (
    FAILURE_KINDS,
    TrialFailure,
    in_one_line,
    kind_of,
    same_cause,
)
from ucluster_tune.trial.trainable import ResultNote
from ucluster_tune.trial.training_task import TrainingTask

_LOGGER = logging.getLogger(__name__)


def key_of(trial_id: str, training_id: str = FIRST) -> str:
    """Return what Tune knows a training by.

    >>> key_of("0003"), key_of("0003", "c1-seed-7")
    ('0003', '0003.c1-seed-7')
    """
    return trial_id if training_id == FIRST else f"{trial_id}.{training_id}"


def _ids(key: str) -> dict[str, str]:
    trial, _, training = key.partition(".")
    return {"trial": trial, "training": training or FIRST}


def training_config(study: StudyConfig, trial: TrialState, plan: TrainingPlan) -> TrialConfig:
    """Return the full configuration of a training; ConfigurationError where it is not legal."""
    of_trial = trial.hyperparameters
    if plan.role != "search" and trial.searched:  # pbt may have changed them
        of_trial = {**of_trial, **trial.best_training.plan.hyperparameters}
    config = trial_config(study, {**of_trial, **plan.hyperparameters})
    if plan.seed is None:
        return config
    return config.model_copy(
        update={"training": config.training.model_copy(update={"seed": plan.seed})}
    )


class StudyDriver:
    """Begins and ends the trials of a study, and takes in what they report.

    Args:
        config: of the study.
        paths: its files.
        keeper: of its record.
        allocation: for how long there are machines; None for all time.

    Attributes:
        record: of the study.
        is_interrupted: set by whoever wants the search to end in order.
        stop_cause: why the search ends by itself before its budget; None where it does not.
        pause_cause: why it is interrupted, where that is no signal.
        is_spent: whether that is its budget, so that it has come to its end.
        begun: further trainings of trials that are in the record and that Tune has yet to be
            given, in order.
    """

    def __init__(
        self,
        config: StudyConfig,
        paths: StudyPaths,
        keeper: RecordKeeper,
        allocation: Allocation | None = None,
    ) -> None:
        self.config, self.paths, self.keeper = config, paths, keeper
        self._allocation = allocation
        self.record = keeper.record
        self.is_interrupted = False
        self.stop_cause: str | None = None
        self.pause_cause: str | None = None
        self.is_spent = False
        self.begun: list[str] = []
        self._judge = build_judge(config)
        _, self._most_neighbors = least_and_most(config, "model.n_neighbors")
        self._verdicts: dict[str, Verdict] = {}  # asked for once an epoch: it stays the same
        self._in_epoch: set[str] = set()
        self._failures_in_a_row: list[str] = []
        self._n_retries: Counter[str] = Counter()  # by this driver

    @property
    def is_in_epoch(self) -> bool:
        """Whether a trial runs whose process has started."""
        return bool(self._in_epoch)

    def pause_where_due(self) -> None:
        """Have the search end in order where its hours, or those of its machines, are used up."""
        if self.is_interrupted:
            return
        cause = overspent(self.record)
        self.is_spent = cause is not None
        if cause is None and self._allocation is not None:
            cause = self._allocation.cause_to_stop(self.record)
        self.pause_cause, self.is_interrupted = cause, cause is not None

    def begin_trial(self, trial_id: str, suggestion: Suggestion) -> dict[str, Any] | None:
        """Return Tune's configuration of a new trial; None where it would not be a legal one."""
        seed = suggestion.hyperparameters.get("training.seed", self.config.training.seed)
        self.keeper.note(
            TrialStarted(
                trial=trial_id,
                hyperparameters=suggestion.hyperparameters,
                sampler_attributes=suggestion.attributes,
                training=TrainingPlan(seed=int(seed), world_size=self.config.resources.n_workers),
            )
        )
        return self._tune_config(trial_id)

    def begin_training(
        self, trial_id: str, hyperparameters: dict[str, Value], plan: TrainingPlan
    ) -> dict[str, Any] | None:
        """Return Tune's configuration of a training that is not of the search; None as above.

        Args:
            trial_id: of its trial, which begins with it where it is not known yet.
            hyperparameters: of such a trial.
            plan: of the training.
        """
        if trial_id in self.record.trials or trial_id in self.record.other_trials:
            self.keeper.note(TrainingStarted(trial=trial_id, training=plan))
        else:
            self.keeper.note(
                TrialStarted(trial=trial_id, hyperparameters=hyperparameters, training=plan)
            )
        return self._tune_config(key_of(trial_id, plan.id))

    def take_up_interrupted(self) -> list[str]:
        """Return the trainings of the search that go on, in order.

        One that another follows, and that a kill kept from its end, is ended: its part is done.
        """
        keys = []
        for trial in self.record.trials.values():
            for training in trial.searched:
                if training.outcome != "interrupted":
                    continue
                if trial.n_seeds > 1 or training is trial.shown:
                    keys.append(key_of(trial.id, training.plan.id))
                else:
                    self._succeed(trial, training, trial.shown.plan)
        return keys

    def _succeed(self, trial: TrialState, training: TrainingState, plan: TrainingPlan) -> None:
        """Take in that a training ended since its trial goes on as another one."""
        self.keeper.note(
            TrialEnded(
                **_ids(key_of(trial.id, training.plan.id)),
                outcome="stopped_early",
                cause=f"goes on as {plan.id}",
                epochs=training.epochs,
            )
        )

    def resume_trial(self, key: str) -> dict[str, Any] | None:
        """Return Tune's configuration of a trial that was interrupted; None as for a new one."""
        trial, training = self._found(key)
        if training is trial.shown and training.plan.role == "search":
            self._verdicts[key] = verdict_so_far(self._judge, self.record, trial)
        cause = training.cause or "interrupted"
        self.keeper.note(TrialResumed(**_ids(key), cause=cause))
        return self._tune_config(key)

    def next_begun(self) -> dict[str, Any] | None:
        """Return Tune's configuration of the next of those begun; None as for a new one."""
        return self._tune_config(self.begun.pop(0))

    @property
    def may_begin_more(self) -> bool:
        """Whether further trainings may follow from those that run."""
        follow = self.config.objective.seeds_per_trial > 1 or bool(kept_epochs(self._judge))
        return follow and bool(self.record.running)

    def _found(self, key: str) -> tuple[TrialState, TrainingState]:
        ids = _ids(key)
        trial = self.record.trials.get(ids["trial"]) or self.record.other_trials[ids["trial"]]
        return trial, trial.trainings[ids["training"]]

    def _tune_config(self, key: str) -> dict[str, Any] | None:
        trial, training = self._found(key)
        files = self.paths.trial(trial.id, training.plan.id)
        try:
            config = training_config(self.config, trial, training.plan)
        except ConfigurationError as error:
            self._end_trial(key, "failed", str(error), kind_of(error).name)
            return None
        try:
            files.root.mkdir(parents=True, exist_ok=True)
            write_whole(files.config, dump_config(study_of_one(self.config, config)))
        except OSError as error:
            raise self.keeper.end_for(cannot_be_written(files.config, error)) from error
        return {
            "trial_id": key,
            "task": self._task(training.plan, config, files.place),
            "resources": self.config.resources,
            "max_retries": self.config.failures.max_retries,
        }

    def _task(self, plan: TrainingPlan, config: TrialConfig, folder: str) -> TrainingTask:
        start, parent = None, plan.parent
        if parent is not None:
            files = self.paths.trial(parent.trial, parent.training)
            start = files.checkpoint_place(parent.epoch)
        kept = kept_epochs(self._judge) if plan.role == "search" else frozenset()
        objective, k = plan.objective(self.config.objective), self._most_neighbors
        return TrainingTask(config, folder, objective, k, start=start, kept_epochs=kept)

    def place_trial(self, trial_id: str) -> None:
        """Take in that a trial's process has started."""
        self._in_epoch.add(trial_id)
        since = self._found(trial_id)[1].waiting_since
        if since is not None:
            waited_s = round(seconds_between(since, utc_now()), 1)
            self.keeper.note(TrialPlaced(**_ids(trial_id), waited_s=waited_s))

    def take_in(self, trial_id: str, epoch: EpochRecord | None, note: ResultNote) -> None:
        """Take in what a trial reports; an epoch that the record has is not taken in again.

        Args:
            trial_id: of the trial.
            epoch: that ended, or whose checkpoint the trial went on from; None with a failure.
            note: what else there is to tell. Of its earlier epochs, which a driver knew that is
                gone with its machine, those are taken in that the record lacks.
        """
        trial, training = self._found(trial_id)
        for cause in note.retries:
            self._n_retries[trial_id] += 1
            self.keeper.note(TrialResumed(**_ids(trial_id), cause=cause, is_retry=True))
        restored = note.restored_epoch
        if restored is not None and (restored or training.records):
            parent = training.plan.parent
            begin = parent.epoch if parent else 0
            self.keeper.note(TrialRestored(**_ids(trial_id), epoch=max(restored, begin)))
        for told in (*note.earlier, *([] if epoch is None else [epoch])):
            if not training.has(told):
                self.keeper.note(EpochEnded(**_ids(trial_id), record=told))
                if training is trial.shown and training.plan.role == "search":
                    self._judge_epoch(trial, told.epoch)

    def _judge_epoch(self, trial: TrialState, epoch: int) -> None:
        decision = self._judge.decide(self.record, trial, epoch)
        if decision is not Decision.GO_ON:
            self._verdicts[key_of(trial.id, trial.shown.plan.id)] = decision

    def verdict(self, trial_id: str) -> Verdict:
        """Return what becomes of a trial after the epochs that it reported."""
        return self._verdicts.get(trial_id, Decision.GO_ON)

    def end_trial(self, trial_id: str, failure: TrialFailure | None = None) -> None:
        """Take in that a trial does not run any more; one that ended before stays as it is.

        Args:
            trial_id: of the trial.
            failure: why it failed; None where it came to its last epoch, or was stopped.
        """
        trial, training = self._found(trial_id)
        if failure is not None:
            self._fail_trial(trial_id, failure)
        elif training.epochs >= training.n_epochs:
            if training is trial.shown and training.plan.role == "search":
                self._begin_further(trial.id, further_seeds(trial))
            self._end_trial(trial_id, "complete", "; ".join(training.warnings) or None)
        elif isinstance(verdict := self.verdict(trial_id), GoOnAs):
            self._in_epoch.discard(trial_id)
            self._begin_further(trial.id, [verdict.plan])
            self._succeed(trial, training, verdict.plan)
        elif verdict is Decision.STOP:
            why = [f"stopped by {self.config.scheduler.name}", *training.warnings]
            self._end_trial(trial_id, "stopped_early", "; ".join(why))
        else:
            self._end_trial(trial_id, "interrupted", "the search was interrupted")

    def _begin_further(self, trial_id: str, plans: Sequence[TrainingPlan]) -> None:
        """Begin trainings that follow from one: before it ends, so that no kill comes between."""
        for plan in plans:
            self.keeper.note(TrainingStarted(trial=trial_id, training=plan))
            self.begun.append(key_of(trial_id, plan.id))

    def lose_process(self, trial_id: str, failure: TrialFailure) -> int | None:
        """Take in that a trial's process or node was lost.

        Returns:
            How often it was tried again, with this time; None where it has failed for good.
        """
        self._in_epoch.discard(trial_id)
        kind = failure.kind
        n_retries = self._n_retries[trial_id] + kind.is_counted
        if not kind.is_retried or n_retries > self.config.failures.max_retries:
            self._fail_trial(trial_id, failure)
            return None
        self._n_retries[trial_id] = n_retries
        self.keeper.note(
            TrialResumed(
                **_ids(trial_id), cause=failure.cause, is_retry=kind.is_counted, kind=kind.name
            )
        )
        return n_retries

    def end_running_trials(self, cause: str) -> None:
        """Mark all trials that still run as interrupted."""
        for ids in list(self.record.running_trainings):
            self._end_trial(key_of(*ids), "interrupted", cause)

    def _fail_trial(self, trial_id: str, failure: TrialFailure) -> None:
        kind, cause = failure.kind.name, failure.cause
        if kind == FAILURE_KINDS[CheckpointError].name:
            # Not the trial's fault, and it would be that of all others: the disk is full or gone.
            fatal = self.keeper.end_for(cause)
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
        training = self._found(trial_id)[1]
        if training.outcome != "running":
            return
        self.keeper.note(
            TrialEnded(
                **_ids(trial_id),
                outcome=outcome,
                cause=cause,
                kind=kind or None,
                epochs=training.epochs,
            )
        )
        self._verdicts.pop(trial_id, None)
        if outcome == "failed":
            _LOGGER.error("trial %s failed: %s", trial_id, cause)
            common = same_cause(kind, cause or "")
            in_a_row = [same for same in self._failures_in_a_row if same == common]
            self._failures_in_a_row = [*in_a_row, common]
        elif outcome != "interrupted":
            self._failures_in_a_row = []
