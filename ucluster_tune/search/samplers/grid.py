"""Every point of a finite search space once, in an order that the seed draws."""

from collections.abc import Iterator

import numpy as np
from optuna.samplers import BaseSampler

from ucluster_tune.config.automatic import grid
from ucluster_tune.config.points import Point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers.planned import PlannedSampler


class GridSampler(PlannedSampler):
    """Gives one suggestion of a space of finite ranges alone."""

    def plan(self) -> Iterator[Point]:
        """Yield all points in random order."""
        points = grid(self.study)
        for place in np.random.default_rng(self.study.sampler.seed).permutation(len(points)):
            yield points[place]


def grid_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del seed  # each suggestion's own; the order is the study's
    return GridSampler(study)
