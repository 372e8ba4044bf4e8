"""The median stopping rule (Golovin et al., Google Vizier, doi:10.1145/3097983.3098043).

A trial whose best value so far is worse than the median of what the others had after the same
number of epochs is stopped. It asks less than ASHA and saves less: it stops half of the trials at
most, one by one, and needs no rungs. Optuna's MedianPruner compares in the same way.
"""

from statistics import median
from typing import Final

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.schedulers.decision import Decision
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState

_N_OTHERS: Final = 4  # a median of fewer says little


class MedianRule:
    """The judge of a study.

    Args:
        grace_period: epochs that every trial gets.
        objective: what makes a value better than another.
    """

    def __init__(self, grace_period: int, objective: ObjectiveConfig) -> None:
        self._grace_period, self._objective = grace_period, objective

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Decision:
        """Return STOP for a trial that has at no epoch been as good as the others' median here."""
        values = record.values_at[epoch]
        if not self._grace_period <= epoch < trial.n_epochs or trial.id not in values:
            return Decision.GO_ON
        others = values.before(trial.id)
        if len(others) < _N_OTHERS:
            return Decision.GO_ON
        worth = self._objective.worth
        own = [
            worth(value)
            for number, value in trial.objective_by_epoch(self._objective).items()
            if number <= epoch
        ]
        return Decision.STOP if max(own) < worth(median(others)) else Decision.GO_ON


def median_of(study: StudyConfig) -> MedianRule:
    """Return the judge that a study's configuration describes."""
    return MedianRule(study.scheduler.grace_period, study.objective)
