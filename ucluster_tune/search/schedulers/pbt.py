"""Population based training (M. Jaderberg et al., arXiv:1711.09846), by truncation selection.

At generations, the epochs grace_period + k * interval, a trial is held against those that came
there before. One in the lowest quarter goes on from the checkpoint, of the same epoch, of a trial
drawn from the highest quarter, and with its hyperparameters, of which those that training can
change are multiplied by 0.8 or 1.2, each for itself. No trial is stopped. The draws depend on the
sampler's seed, the trial and the epoch alone, so that the record tells what follows.
"""

import math
import random
from typing import Final

from ucluster_tune.config.points import SearchSpace, least_and_most
from ucluster_tune.config.search_space import fit
from ucluster_tune.config.study import CategoricalParameter, StudyConfig
from ucluster_tune.search.schedulers.decision import Decision, GoOnAs, Verdict
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import (
    ParentCheckpoint,
    TrainingPlan,
    TrainingState,
    TrialState,
    Value,
)

_QUARTER: Final = 0.25
_FACTORS: Final = (0.8, 1.2)
_CHANGED_IN: Final = ("loss", "training")  # another network could not take the weights
_NEVER_CHANGED: Final = ("training.seed", "training.n_pretraining_epochs", "training.n_jets")


class Pbt:
    """The judge of a study.

    Args:
        study: its configuration.

    Attributes:
        generations: the epochs at which trials are compared.
    """

    def __init__(self, study: StudyConfig) -> None:
        self._study, scheduler = study, study.scheduler
        _, n_epochs = least_and_most(study, "training.n_epochs")
        self.generations = frozenset(range(scheduler.grace_period, n_epochs, scheduler.interval))
        self._space = SearchSpace(study)
        self._changed = {
            path: parameter
            for path, parameter in study.search_space.items()
            if path.partition(".")[0] in _CHANGED_IN
            and path not in _NEVER_CHANGED
            and not isinstance(parameter, CategoricalParameter)
        }

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Verdict:
        """Return as which training a trial goes on that is among the worst of a generation."""
        values = record.values_at[epoch]
        if epoch not in self.generations or epoch >= trial.n_epochs or trial.id not in values:
            return Decision.GO_ON
        worth = self._study.objective.worth
        others = {name: worth(value) for name, value in values.trials_before(trial.id).items()}
        n_of_quarter = math.floor(_QUARTER * (len(others) + 1))
        n_worse = sum(other < worth(values[trial.id]) for other in others.values())
        if n_worse >= n_of_quarter:
            return Decision.GO_ON
        draw = random.Random(f"{self._study.sampler.seed} {trial.id} {epoch}")
        best = sorted(others, key=lambda name: (others[name], name))[-n_of_quarter:]
        parent = record.trials[draw.choice(best)]
        training = training_at(parent, epoch)
        point = self._explored({**parent.hyperparameters, **training.plan.hyperparameters}, draw)
        own = trial.shown.plan
        return GoOnAs(
            TrainingPlan(
                id=f"pbt-{epoch}",
                seed=own.seed,
                world_size=own.world_size,
                parent=ParentCheckpoint(trial=parent.id, training=training.plan.id, epoch=epoch),
                hyperparameters={
                    path: value
                    for path, value in point.items()
                    if value != trial.hyperparameters.get(path)
                },
            )
        )

    def _explored(self, point: dict[str, Value], draw: random.Random) -> dict[str, Value]:
        """Return a point beside one, within its ranges; itself where that breaks a constraint."""
        moved = {
            path: fit(float(point[path]) * draw.choice(_FACTORS), parameter)
            for path, parameter in self._changed.items()
        }
        found = {**point, **moved}
        return found if self._space.allows(found) else point


def training_at(trial: TrialState, epoch: int) -> TrainingState:
    """Return the training of a trial in which it ran an epoch."""
    return next(t for t in trial.searched if any(r.epoch == epoch for r in t.records))


def pbt_of(study: StudyConfig) -> Pbt:
    """Return the judge that a study's configuration describes."""
    return Pbt(study)
