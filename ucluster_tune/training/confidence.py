"""How sure an accuracy is that was measured over some seeds and some test jets.

Both are samples: another seed gives another network, another sample other jets. Each value belongs
to a seed and a jet, so that the two effects are crossed: y = mean + seed + jet + rest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.training.matching import LEVEL
from ucluster_tune.training.metrics import confusion_matrix
from ucluster_tune.training.yardsticks import Interval

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class CrossedMean:
    """A mean over seeds and jets.

    Attributes:
        mean: of all values.
        spread: standard deviation of the means of the seeds; None with one seed.
        parts: variance of the mean that seeds and jets make, with its degrees of freedom; of
            several estimates of one part, that counts which makes the interval longer.
    """

    mean: float
    spread: float | None
    parts: tuple[tuple[tuple[float, int], ...], ...]

    @property
    def interval(self) -> Interval:
        """The 95 % interval."""
        half = self._half_width(0.5 + LEVEL / 2)
        return self.mean - half, self.mean + half

    @property
    def probability_above_zero(self) -> float:
        """That the mean over all seeds and jets that there could be is: where intervals end."""
        from scipy.optimize import brentq

        sign, certain = float(np.sign(self.mean)), 1 - 1e-12
        if abs(self.mean) >= self._half_width(certain):
            return 0.5 + 0.5 * sign
        level = brentq(lambda p: self._half_width(p) - abs(self.mean), 0.5, certain)
        return 0.5 + sign * (float(level) - 0.5)

    def _half_width(self, level: float) -> float:
        """Return the half width of the interval whose upper end has this probability below it."""
        from scipy.special import stdtrit  # Student's quantile

        squares = (
            max(float(stdtrit(freedom, level)) ** 2 * variance for variance, freedom in part)
            for part in self.parts
        )
        return float(np.sqrt(sum(squares)))


def crossed_mean(values: Floats) -> CrossedMean:
    """Return the mean of values by [seed, jet], and how sure it is.

    The variance of the mean in the crossed random-effects model without replication is
    (MS_seed + (MS_jet - MS_rest)) / (S J), with the mean squares of the analysis of variance
    (Cornfield and Tukey 1956). Seeds are few and jets many, so each part has Student's quantile of
    its own degrees of freedom, and the half width is the root of the sum of their squares (Zou
    and Donner 2008): never too short for few seeds, a little long where seeds hardly differ. The
    part of the seeds is never taken to be less than MS_rest, which is its expectation where seeds
    do not differ: two seeds may agree by chance. With one seed it knows of the jets alone.

    Args:
        values: float [seed, jet]: whether a jet is in the cluster of its class, or the difference
            of two such values.

    >>> found = crossed_mean(np.array([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]]))
    >>> found.mean, [round(x, 3) for x in found.interval], round(found.spread, 3)
    (0.625, [-1.091, 2.341], 0.177)
    """
    n_seeds, n_jets = values.shape
    of_seeds, of_jets = values.mean(axis=1), values.mean(axis=0)
    mean, n_free = float(values.mean()), max(n_jets - 1, 1)
    jets = float(n_seeds * np.square(of_jets - mean).sum() / n_free)
    if n_seeds == 1:
        return CrossedMean(mean, None, (((jets / values.size, n_free),),))
    spread = float(of_seeds.std(ddof=1))
    n_free_of_rest = (n_seeds - 1) * n_free
    rest = np.square(values - of_seeds[:, None] - of_jets + mean).sum() / n_free_of_rest
    seeds = n_jets * spread**2
    of_seed = ((seeds / values.size, n_seeds - 1), (float(rest) / values.size, n_free_of_rest))
    of_jet = ((max(0.0, jets - float(rest)) / values.size, n_free),)
    return CrossedMean(mean, spread, (of_seed, of_jet))


def right_jets(
    cluster: IntArray, jet_class: IntArray, shape: tuple[int, int], batch_size: int | None = None
) -> npt.NDArray[np.float64]:
    """Return float64 [jet]: 1 where a jet is in the cluster that is matched with its class.

    Its mean is the clustering accuracy. That clusters are matched to classes on the same jets is
    left out of account: with hundreds of jets a cluster, the matching does not change.

    Args:
        cluster: int64 [jet].
        jet_class: int64 [jet].
        shape: clusters that there can be, and classes.
        batch_size: to match anew in each batch, as published; jets that fill no batch are left
            out. None to match once.

    >>> right_jets(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 0]), (2, 2)).tolist()
    [1.0, 1.0, 1.0, 0.0]
    """
    from scipy.optimize import linear_sum_assignment

    size = len(cluster) if batch_size is None else min(batch_size, len(cluster))
    right = np.zeros(len(cluster) // size * size)
    for start in range(0, len(right), size):
        part = slice(start, start + size)
        confusion = confusion_matrix(cluster[part], jet_class[part], *shape)
        class_of = np.full(shape[0], -1)
        clusters, classes = linear_sum_assignment(confusion, maximize=True)
        class_of[clusters] = classes
        right[part] = class_of[cluster[part]] == jet_class[part]
    return right


def rank_correlation(first: Floats, second: Floats) -> tuple[float, tuple[float, float]]:
    """Return Spearman's correlation of two quantities, and its 95 % interval.

    The interval is that of the percentiles of 2000 resamples of the pairs.

    Args:
        first: float64 [pair].
        second: float64 [pair].

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))[0]
    1.0
    """
    from scipy.stats import bootstrap  # a second of import

    resampled = bootstrap(
        (first, second),
        _spearman,
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = resampled.confidence_interval
    return float(_spearman(first, second)), (float(low), float(high))


def _spearman(first: Floats, second: Floats, axis: int = -1) -> Floats:
    """Return Spearman's correlation along an axis, 0 where one side is the same throughout.

    scipy.stats.spearmanr takes half a millisecond for each of the resamples.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=axis) for values in (first, second)]
    x, y = (r - r.mean(axis=axis, keepdims=True) for r in ranks)
    norm = np.sqrt((x**2).sum(axis=axis) * (y**2).sum(axis=axis))
    together = (x * y).sum(axis=axis)
    return np.asarray(np.divide(together, norm, out=np.zeros_like(norm), where=norm > 0))
