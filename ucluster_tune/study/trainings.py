"""A trial is hyperparameters and one or more trainings of them; pure data.

A training has a seed, a number of workers, a role, and may begin from the checkpoint of another
one, with other hyperparameters or another number of workers. Those of the role `search` are what
the search is about: they alone teach the sampler, count as trials, and may be its best. Further
ones of the best trials (`final`), or of a recipe to compare with (`baseline`), stand beside them.
"""

from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.training.record import EpochRecord, Rank, best_record, epoch_rank
from ucluster_tune.training.yardsticks import Measured

Value = bool | int | float | str
Outcome = Literal["running", "complete", "stopped_early", "failed", "interrupted"]
Role = Literal["search", "final", "baseline"]
FIRST: Final = "first"  # the training that a trial begins with
# Of a trial's trainings the outcome that is the trial's own, the weightiest first.
_WEIGHTIEST: Final = ("running", "interrupted", "failed", "stopped_early", "complete")


class ParentCheckpoint(BaseModel):
    """The checkpoint of another training, from which a training begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    training: str = FIRST
    epoch: int


class TrainingPlan(BaseModel):
    """What a training is from its begin on.

    Attributes:
        id: unlike that of another training of its trial.
        seed: None in a journal that does not tell: that of the study's configuration.
        world_size: number of workers; None as for the seed.
        parent: None for a training from new weights.
        hyperparameters: those that differ from the trial's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = FIRST
    role: Role = "search"
    seed: int | None = None
    world_size: int | None = None
    parent: ParentCheckpoint | None = None
    hyperparameters: dict[str, Value] = {}

    def objective(self, of_study: ObjectiveConfig) -> ObjectiveConfig:
        """Return what its best epoch is chosen by: the accuracy where it learns from labels."""
        has_labels = self.hyperparameters.get("model.head") == "classes"
        return ObjectiveConfig() if has_labels else of_study


def further_seeds(trial: "TrialState") -> list[TrainingPlan]:
    """Return the trainings that a trial with several seeds still lacks.

    The seeds follow that of its first training, so that trials are compared by the same ones.
    """
    first = next(iter(trial.trainings.values())).plan
    plans = [
        first.model_copy(update={"id": f"seed-{n}", "seed": (first.seed or 0) + n - 1})
        for n in range(2, trial.n_seeds + 1)
    ]
    return [plan for plan in plans if plan.id not in trial.trainings]


@dataclass
class TrainingState:
    """All that is known of one training.

    Attributes:
        kind: of its failure, as `trial.failures` names it.
        run_id: of MLflow, None until MLflow has told it.
        records: one an epoch, in order; those of its parent are not among them.
        times: when each epoch ended, ISO 8601, by epoch.
        retry_causes: why its workers were lost and started again.
        n_lost_nodes: how often it goes on because its node was lost.
        waiting_since: it runs, but not yet: its CPUs and GPUs are not free or not there yet.
        restored_epochs: the checkpoints that it went on from.
        n_epochs_again: epochs run a second time, since no checkpoint of them was left.
        test: its best epoch on test jets, of a finalist that was measured.
    """

    plan: TrainingPlan
    n_epochs: int
    started: str
    outcome: Outcome = "running"
    cause: str | None = None
    kind: str | None = None
    run_id: str | None = None
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
    test: Measured | None = None

    @property
    def epochs(self) -> int:
        """Epochs finished, those of its parent included."""
        if self.records:
            return self.records[-1].epoch
        return self.plan.parent.epoch if self.plan.parent else 0

    @property
    def epochs_run(self) -> int:
        """Epochs finished, those of its parent left out."""
        return self.epochs - (self.plan.parent.epoch if self.plan.parent else 0)

    @property
    def warnings(self) -> list[str]:
        """Signs, in the last epoch, that it goes wrong: see `training.health`."""
        return self.records[-1].warnings if self.records else []

    def has(self, epoch: EpochRecord) -> bool:
        """Return whether it has the epoch with this result, at whatever speed it was run."""
        if epoch.epoch > self.epochs:
            return False
        return any(known.is_same_training(epoch) for known in self.records)

    def add(self, epoch: EpochRecord, of_study: ObjectiveConfig) -> None:
        """Add an epoch; one that was run again replaces the old one and all after it."""
        objective = self.plan.objective(of_study)
        if self.records and epoch.epoch <= self.epochs:
            kept = [old for old in self.records if old.epoch < epoch.epoch]
            self.records, self.best, self.rank = [], None, None
            for old in kept:
                self.add(old, of_study)
        self.records.append(epoch)
        self.best = best_record(self.best, epoch, objective)
        self.rank = None if self.best is None else epoch_rank(self.best, objective)


@dataclass
class TrialState:
    """All that is known of one trial: its hyperparameters and its trainings.

    What it tells of itself is what its newest training of the search tells, but for its best
    epoch, which may be one of an earlier such training.

    With several seeds its curve is that of the first one, which alone is judged; it has ended
    once all of its trainings have, and is worth the mean of them. Before, it is worth what the
    first one is, and goes behind all trials that are whole: one good seed is no good trial.

    Attributes:
        sampler_attributes: what Optuna's sampler keeps with it.
        trainings: by id, in the order in which they began.
        n_seeds: trainings of the search that make it whole.
    """

    id: str
    hyperparameters: dict[str, Value]
    sampler_attributes: dict[str, Any]
    trainings: dict[str, TrainingState]
    n_seeds: int = 1

    @property
    def at_best(self) -> dict[str, Value]:
        """Its hyperparameters at its best epoch, where a scheduler changed them on the way."""
        return {**self.hyperparameters, **self.best_training.plan.hyperparameters}

    @property
    def searched(self) -> list[TrainingState]:
        """Its trainings of the search."""
        return [t for t in self.trainings.values() if t.plan.role == "search"]

    @property
    def shown(self) -> TrainingState:
        """The training that it tells of: the newest one of the search, else its first.

        With several seeds the first one.
        """
        found = self.searched if self.n_seeds == 1 else []
        return found[-1] if found else next(iter(self.trainings.values()))

    @property
    def _telling(self) -> list[TrainingState]:
        """The trainings whose end is that of the trial."""
        return [self.shown] if self.n_seeds == 1 else self.searched or [self.shown]

    @property
    def _deciding(self) -> TrainingState:
        """The training whose outcome is that of the trial."""
        return min(self._telling, key=lambda t: _WEIGHTIEST.index(t.outcome))

    @property
    def scored(self) -> list[TrainingState]:
        """The trainings that its worth is the mean of: one where not all seeds have ended."""
        if self.n_seeds == 1:
            return [self.best_training]
        complete = [t for t in self.searched if t.outcome == "complete" and t.best is not None]
        return complete if len(complete) == self.n_seeds else [self.shown]

    @property
    def is_whole(self) -> bool:
        """Whether its worth is that of all its seeds."""
        return len(self.scored) == self.n_seeds

    @property
    def best_training(self) -> TrainingState:
        """The training with the best epoch, whose checkpoint is kept: the first of equal ones."""
        ranked = [t for t in self.searched if t.rank is not None]
        return max(ranked, key=lambda t: t.rank or (False, 0.0)) if ranked else self.shown

    @property
    def best(self) -> EpochRecord | None:
        """Its best epoch, None where none gave a number."""
        return self.best_training.best

    @property
    def rank(self) -> Rank | None:
        """What orders trials, the best one last; None as for the best epoch."""
        ranks = [t.rank for t in self.scored]
        known = [rank for rank in ranks if rank is not None]
        if len(known) < len(ranks):
            return None
        is_first_rate = all(is_clustering for is_clustering, _ in known) and self.is_whole
        return is_first_rate, mean(worth for _, worth in known)

    @property
    def best_epoch(self) -> int | None:
        """The epoch of its best training that gives the trial its score."""
        return self.best.epoch if self.best else None

    @property
    def outcome(self) -> Outcome:
        """How it ended, or that it runs."""
        return self._deciding.outcome

    @property
    def cause(self) -> str | None:
        """Why it ended so."""
        return self._deciding.cause

    @property
    def kind(self) -> str | None:
        """The kind of its failure, as `trial.failures` names it."""
        return self._deciding.kind

    @property
    def run_id(self) -> str | None:
        """Its run in MLflow."""
        return next(iter(self.trainings.values())).run_id

    @property
    def n_epochs(self) -> int:
        """Epochs that it is to run."""
        return self.shown.n_epochs

    @property
    def started(self) -> str:
        """When it began, ISO 8601."""
        return next(iter(self.trainings.values())).started

    @property
    def ended(self) -> str | None:
        """When it ended, ISO 8601."""
        ends = [t.ended for t in self._telling]
        return None if None in ends else max(end for end in ends if end is not None)

    @property
    def records(self) -> list[EpochRecord]:
        """Its epochs, in order: where trainings follow each other, those of all of them."""
        if self.n_seeds > 1:
            return self.shown.records
        found: list[EpochRecord] = []
        for training in self.searched or [self.shown]:
            start = training.plan.parent.epoch if training.plan.parent else 0
            found = [record for record in found if record.epoch <= start] + training.records
        return found

    @property
    def times(self) -> dict[int, str]:
        """When each epoch ended, ISO 8601, by epoch."""
        if self.n_seeds > 1:
            return self.shown.times
        trainings = self.searched or [self.shown]
        return {epoch: time for t in trainings for epoch, time in t.times.items()}

    @property
    def retry_causes(self) -> list[str]:
        """Why its workers were lost and started again."""
        return [cause for t in self.searched or [self.shown] for cause in t.retry_causes]

    @property
    def n_lost_nodes(self) -> int:
        """How often it goes on because its node was lost."""
        return sum(t.n_lost_nodes for t in self.searched or [self.shown])

    @property
    def waiting_since(self) -> str | None:
        """Since when it waits for CPUs and GPUs; None where it does not."""
        since = [t.waiting_since for t in self._telling if t.outcome == "running"]
        return None if None in since else min((s for s in since if s is not None), default=None)

    @property
    def restored_epochs(self) -> list[int]:
        """The checkpoints that it went on from."""
        return [epoch for t in self.searched or [self.shown] for epoch in t.restored_epochs]

    @property
    def n_epochs_again(self) -> int:
        """Epochs run a second time, since no checkpoint of them was left."""
        return sum(t.n_epochs_again for t in self.searched or [self.shown])

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for CPUs and GPUs, at its start or in place of those it lost."""
        return self.waiting_since is not None

    @property
    def epochs(self) -> int:
        """Epochs finished."""
        return self.shown.epochs

    @property
    def epochs_run(self) -> int:
        """Epochs finished by all its trainings of the search."""
        return sum(training.epochs_run for training in self.searched)

    @property
    def warnings(self) -> list[str]:
        """Signs, in the last epoch, that the training goes wrong: see `training.health`."""
        return [warning for training in self._telling for warning in training.warnings]

    def values(self, metric: str) -> list[float]:
        """Return a metric at the best epoch of each training that its worth is the mean of.

        Empty where one of them lacks it.
        """
        found = [t.best.value(metric) if t.best else None for t in self.scored]
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else []

    def value(self, metric: str) -> float | None:
        """Return a metric at the best epoch, of several seeds its mean."""
        values = self.values(metric)
        return mean(values) if values else None

    def score(self, objective: ObjectiveConfig) -> float | None:
        """Return the objective at the best epoch, of several seeds its mean."""
        return self.value(objective.metric)

    def scores(self, objective: ObjectiveConfig) -> list[float | None]:
        """Return all objectives at the best epoch, of several seeds their means."""
        return [self.value(name) for name in objective.metrics]

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of a metric between seeds; None with fewer than two."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None

    def objective_by_epoch(self, objective: ObjectiveConfig) -> dict[int, float]:
        """Return the finite values of the objective, by epoch."""
        values = {epoch.epoch: epoch.value(objective.metric) for epoch in self.records}
        return {number: value for number, value in values.items() if value is not None}

    def snapshot(self) -> "TrialState":
        """Return the trial as it is now, which later events do not change."""
        copies = {
            name: replace(t, records=list(t.records), times=dict(t.times))
            for name, t in self.trainings.items()
        }
        return replace(self, trainings=copies)
