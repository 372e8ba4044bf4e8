"""Every point of a finite search space once, in an order that the seed draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler

from ucluster_tune.config.search_space import Value, all_values
from ucluster_tune.config.study import Parameter, StudyConfig
from ucluster_tune.search.samplers.planned import PlannedSampler


class GridSampler(PlannedSampler):
    """Gives one suggestion: the first point that was not tried, the last one where all were.

    Args:
        search_space: of finite ranges alone.
        seed: of the order.
    """

    def __init__(self, search_space: Mapping[str, Parameter], seed: int) -> None:
        super().__init__(search_space)
        self._values = {path: all_values(range_) for path, range_ in search_space.items()}
        self._shape = tuple(len(values) for values in self._values.values())
        self._seed = seed

    def point(self, tried: list[Mapping[str, Any]]) -> Mapping[str, Value]:
        """Return the next point of the grid."""
        seen = {tuple(point.get(path) for path in self._values) for point in tried}
        point: dict[str, Value] = {}
        for number in np.random.default_rng(self._seed).permutation(int(np.prod(self._shape))):
            places = np.unravel_index(number, self._shape)
            point = {
                path: values[place]
                for (path, values), place in zip(self._values.items(), places, strict=True)
            }
            if tuple(point.values()) not in seen:
                break
        return point


def grid_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del seed  # each suggestion's own; the order is the study's
    return GridSampler(study.search_space, study.sampler.seed)
