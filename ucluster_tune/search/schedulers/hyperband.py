"""Hyperband (Li et al., arXiv:1603.06560), with ASHA in each bracket (arXiv:1810.05934).

ASHA has to trust early epochs. Hyperband hedges: it divides the trials among brackets, of which
each has its first rung reduction_factor times later than the one before; the last one stops none.
A bracket with later rungs gets fewer trials, so that all of them cost about the same. The trial's
number decides, so nothing has to be kept.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.schedulers.asha import Asha, halving_of
from ucluster_tune.search.schedulers.decision import Decision
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState

_GOLDEN: Final = (math.sqrt(5) - 1) / 2  # its multiples fill [0, 1) evenly, however many they are


class Hyperband:
    """The judge of a study; arguments as of `Asha`.

    >>> brackets = Hyperband(1, 3.0, 9, "maximize")
    >>> [sum(brackets.bracket(f"{n:04d}") == b for n in range(1, 101)) for b in range(3)]
    [54, 28, 18]
    """

    def __init__(
        self, grace_period: int, reduction_factor: float, n_epochs: int, direction: str
    ) -> None:
        n_brackets = 1 + max(0, math.floor(math.log(n_epochs / grace_period, reduction_factor)))
        self._brackets = [
            Asha(
                math.ceil(grace_period * reduction_factor**number),
                reduction_factor,
                n_epochs,
                direction,
                self._is_in(number),
            )
            for number in range(n_brackets)
        ]
        # Where s rungs lie before the last epoch, a trial takes about (s + 1) / factor^s of all.
        rungs = range(n_brackets - 1, -1, -1)
        shares = [reduction_factor**s / (s + 1) for s in rungs]
        self._ends = [end / sum(shares) for end in accumulate(shares)]

    def bracket(self, trial_id: str) -> int:
        """Return the number of a trial's bracket, from 0."""
        place = int(trial_id) * _GOLDEN % 1
        return next((n for n, end in enumerate(self._ends) if place < end), len(self._ends) - 1)

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Decision:
        """Return what the trial's bracket says."""
        return self._brackets[self.bracket(trial.id)].decide(record, trial, epoch)

    def _is_in(self, number: int) -> Callable[[str], bool]:
        return lambda trial_id: self.bracket(trial_id) == number


def hyperband_of(study: StudyConfig) -> Hyperband:
    """Return the judge that a study's configuration describes."""
    return Hyperband(*halving_of(study))
