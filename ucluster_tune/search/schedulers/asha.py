"""ASHA, asynchronous successive halving (L. Li et al., arXiv:1810.05934), its stopping variant.

Rungs are at grace_period * reduction_factor^k epochs. A trial that comes to one is held against
those that came there before: it goes on where it is among the best 1/reduction_factor of them. The
trials that come first go on, with nobody to be held against. A trial's last epoch is never judged,
and neither is an epoch whose objective is no number.
"""

import math
from collections.abc import Callable

from ucluster_tune.config.points import least_and_most
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.schedulers.decision import Decision
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState


class Asha:
    """The judge of a study.

    Args:
        grace_period: epochs of the first rung.
        reduction_factor: above 1.
        n_epochs: of the longest trial.
        direction: maximize or minimize.
        counts: tells which trials are held against each other; all by default.

    >>> sorted(Asha(2, 3.0, 30, "maximize").rungs)
    [2, 6, 18]
    """

    def __init__(
        self,
        grace_period: int,
        reduction_factor: float,
        n_epochs: int,
        direction: str,
        counts: Callable[[str], bool] | None = None,
    ) -> None:
        self._counts = counts
        self._share = 1 - 1 / reduction_factor
        self._is_maximized = direction == "maximize"
        n_rungs = max(0, math.ceil(math.log(n_epochs / grace_period, reduction_factor)) + 1)
        milestones = (grace_period * reduction_factor**k for k in range(n_rungs))
        self.rungs = frozenset(math.ceil(epochs) for epochs in milestones if epochs <= n_epochs)

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Decision:
        """Return STOP for a trial that is worse at a rung than most that came there before."""
        values = record.values_at[epoch]
        if epoch not in self.rungs or epoch >= trial.n_epochs or trial.id not in values:
            return Decision.GO_ON
        others, own = values.before(trial.id, self._counts), values[trial.id]
        if not self._is_maximized:
            others, own = [-value for value in reversed(others)], -own
        if others and own < percentile(others, self._share):
            return Decision.STOP
        return Decision.GO_ON


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of them lies, as NumPy's does between two of them.

    Args:
        ordered: one at least, the smallest first.
        share: in [0, 1].

    >>> percentile([0.1, 0.2, 0.3], 0.75)
    0.25
    """
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place % 1)


def asha_of(study: StudyConfig) -> Asha:
    """Return the judge that a study's configuration describes."""
    return Asha(*halving_of(study))


def halving_of(study: StudyConfig) -> tuple[int, float, int, str]:
    """Return how a study halves its trials: the first four arguments of `Asha`."""
    scheduler = study.scheduler
    _, n_epochs = least_and_most(study, "training.n_epochs")
    return scheduler.grace_period, scheduler.reduction_factor, n_epochs, study.objective.direction
