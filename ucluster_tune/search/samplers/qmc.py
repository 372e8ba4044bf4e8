"""Points that fill the search space evenly: a scrambled Sobol sequence (doi:10.1137/0916055)."""

from collections.abc import Iterator

from optuna.samplers import BaseSampler

from ucluster_tune.config.points import Point
from ucluster_tune.config.search_space import value_at
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers.planned import PlannedSampler

_DRAWN_AT_ONCE = 128  # a power of two, as Sobol's sequences want it


class QuasiMonteCarloSampler(PlannedSampler):
    """Gives one suggestion: the next point of the sequence."""

    def plan(self) -> Iterator[Point]:
        """Yield the points of the sequence."""
        from scipy.stats.qmc import Sobol  # a third of what `run` loads, whatever its sampler

        space = self.study.search_space
        if not space:
            return
        sequence = Sobol(len(space), scramble=True, rng=self.study.sampler.seed)
        while True:
            for shares in sequence.random(_DRAWN_AT_ONCE):
                yield {
                    path: value_at(parameter, float(share))
                    for (path, parameter), share in zip(space.items(), shares, strict=True)
                }


def quasi_monte_carlo_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del seed  # each suggestion's own; the sequence is the study's
    return QuasiMonteCarloSampler(study)
