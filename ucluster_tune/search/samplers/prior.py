"""Where good values are believed to lie: what the first part of a budget is spent around.

A fifth of the trials, and no fewer than the sampler draws at random before it learns, begin so;
every third of these is left to the sampler alone, to compare with. Where those around the prior
turn out the worse ones, it is not asked any more. After that the sampler knows what they taught.

The idea of a prior that results overrule is that of PriorBand (arXiv:2306.12370).
"""

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, median
from typing import Final

from optuna.trial import FrozenTrial, TrialState

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.points import Point
from ucluster_tune.config.search_space import (
    Value,
    all_values,
    prior_center,
    share_below,
    value_at,
)
from ucluster_tune.config.study import CategoricalParameter, Parameter, StudyConfig

PRIOR: Final = "prior"  # attribute of Optuna's trials: whether it was drawn around the prior
_SHARE_OF_BUDGET: Final = 0.2
_WIDTH: Final = {
    "low": 0.3,
    "medium": 0.15,
    "high": 0.05,
}  # standard deviation, as a range's share
_CHANCE: Final = {"low": 0.4, "medium": 0.6, "high": 0.8}  # of the choice in the center
_WITHOUT: Final = 3  # one in so many
_ENOUGH: Final = 3  # trials of either kind, to tell which are the better ones


class Prior:
    """Draws values of those hyperparameters that have a prior.

    Args:
        study: whose seed and budget count.
    """

    def __init__(self, study: StudyConfig) -> None:
        self._ranges = {path: r for path, r in study.search_space.items() if r.prior is not None}
        self._seed, self._objective = study.sampler.seed, study.objective
        n_random = study.sampler.n_startup_trials
        self.n_trials = max(n_random, math.ceil(_SHARE_OF_BUDGET * (study.budget.n_trials or 0)))

    def counts(self, place: int) -> bool:
        """Return whether a trial, at a place after the points that come first, may follow it."""
        return bool(self._ranges) and place < self.n_trials

    def draw(self, place: int, attempt: int, known: Sequence[FrozenTrial]) -> Point:
        """Return values for a trial; none where it is the sampler's alone.

        Args:
            place: of the trial, from 0, after the points that come first.
            attempt: how often its point broke a constraint before.
            known: the trials so far.
        """
        is_without = place % _WITHOUT == _WITHOUT - 1
        if not self.counts(place) or is_without or self.is_refuted(known):
            return {}
        chance = random.Random(f"{self._seed} {place} {attempt}")
        return {path: _around(path, r, chance.random()) for path, r in self._ranges.items()}

    def is_refuted(self, known: Sequence[FrozenTrial]) -> bool:
        """Return whether trials around the prior are worse than the others, by their medians."""
        ended = [t for t in known if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        worths: dict[bool, list[float]] = {True: [], False: []}
        for trial in ended:
            worth = _worth(trial, self._objective)
            if PRIOR in trial.system_attrs and worth is not None:
                worths[trial.system_attrs[PRIOR]].append(worth)
        if any(len(found) < _ENOUGH for found in worths.values()):
            return False
        return median(worths[True]) < median(worths[False])


def _worth(trial: FrozenTrial, objective: ObjectiveConfig) -> float | None:
    values = list(trial.intermediate_values.values()) or (trial.values or [])[:1]
    return max(map(objective.worth, values), default=None)


def _around(path: str, parameter: Parameter, chance: float) -> Value:
    """Return a value drawn around the center: from a normal distribution cut at the range's ends.

    Args:
        path: of the hyperparameter.
        parameter: its range, with a prior.
        chance: in [0, 1), drawn evenly.
    """
    assert parameter.prior is not None
    center = prior_center(path, parameter)
    assert center is not None, "checked when the file was read"
    confidence = parameter.prior.confidence
    if isinstance(parameter, CategoricalParameter):
        if chance < _CHANCE[confidence]:
            return center
        others = [choice for choice in all_values(parameter) if choice != center] or [center]
        rest = (chance - _CHANCE[confidence]) / (1 - _CHANCE[confidence])
        return others[int(rest * len(others))]
    normal = NormalDist(share_below(parameter, center), _WIDTH[confidence])
    low, high = normal.cdf(0.0), normal.cdf(1.0)
    share = normal.inv_cdf(low + (high - low) * chance)
    return value_at(parameter, min(max(share, 0.0), 1.0 - 1e-12))
