"""Points that fill the search space evenly: a scrambled Sobol sequence (doi:10.1137/0916055)."""

import math
from collections.abc import Mapping
from typing import Any

from optuna.samplers import BaseSampler
from scipy.stats.qmc import Sobol

from ucluster_tune.config.search_space import Value, all_values
from ucluster_tune.config.study import FloatParameter, IntParameter, Parameter, StudyConfig
from ucluster_tune.search.samplers.planned import PlannedSampler


class QuasiMonteCarloSampler(PlannedSampler):
    """Gives one suggestion: the point of the sequence with the number of the trial.

    Args:
        search_space: the ranges by dotted path.
        seed: of the scrambling.
    """

    def __init__(self, search_space: Mapping[str, Parameter], seed: int) -> None:
        super().__init__(search_space)
        self._seed = seed

    def point(self, tried: list[Mapping[str, Any]]) -> Mapping[str, Value]:
        """Return the next point of the sequence."""
        if not self._search_space:
            return {}
        sequence = Sobol(len(self._search_space), scramble=True, rng=self._seed)
        if tried:
            sequence.fast_forward(len(tried))
        shares = sequence.random(1)[0]
        return {
            path: value_at(parameter, float(share))
            for (path, parameter), share in zip(self._search_space.items(), shares, strict=True)
        }


def value_at(parameter: Parameter, share: float) -> Value:
    """Return the value below which a share of a range lies, in its own scale.

    Args:
        parameter: the range.
        share: in [0, 1).

    >>> value_at(FloatParameter(type="float", low=1.0, high=3.0), 0.5)
    2.0
    >>> value_at(IntParameter(type="int", low=4, high=12, step=4), 0.9)
    12
    """
    if isinstance(parameter, IntParameter) and parameter.log:
        low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
        return min(max(round(math.exp(low + share * (high - low))), parameter.low), parameter.high)
    if isinstance(parameter, FloatParameter) and parameter.step is None:
        low, high = parameter.low, parameter.high
        if parameter.log:
            return min(max(low * math.exp(share * math.log(high / low)), low), high)
        return low + share * (high - low)
    values = all_values(parameter)
    return values[int(share * len(values))]


def quasi_monte_carlo_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del seed  # each suggestion's own; the sequence is the study's
    return QuasiMonteCarloSampler(study.search_space, study.sampler.seed)
