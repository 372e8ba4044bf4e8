"""Best one-to-one matchings of many small confusion matrices at once, and bootstrap intervals.

Resampling jets with replacement changes nothing but how many fall into each cell of their
confusion matrix, so matrices are drawn in place of jets: the same distribution, and no cost that
grows with the number of jets.
"""

from itertools import permutations
from math import perm

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ucluster_tune.training.metrics import Confusion
from ucluster_tune.training.yardsticks import Interval

Floats = npt.NDArray[np.float64]

_MAX_MATCHINGS = 720  # of which all are tried at once
_CELLS_AT_A_TIME = 5_000_000
LEVEL = 0.95


def matched_jets(confusions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return int64 [matrix]: jets on the best one-to-one matching of each.

    Args:
        confusions: int64 [matrix, cluster, class].

    >>> matched_jets(np.array([[[0, 3], [5, 2]], [[1, 0], [0, 1]]])).tolist()
    [8, 2]
    """
    n_clusters, n_classes = confusions.shape[1:]
    few, many = sorted((n_clusters, n_classes))
    if perm(many, few) > _MAX_MATCHINGS:
        return np.array([c[linear_sum_assignment(c, maximize=True)].sum() for c in confusions])
    wide = confusions if n_clusters <= n_classes else confusions.transpose(0, 2, 1)
    rows = np.arange(few)
    best = np.zeros(len(confusions), np.int64)
    for columns in permutations(range(many), few):
        np.maximum(best, wide[:, rows, columns].sum(axis=1), out=best)
    return best


def accuracy_interval(confusion: Confusion, n_resamples: int, seed: int) -> Interval:
    """Return the 95 % percentile bootstrap interval of the clustering accuracy.

    Args:
        confusion: int64 [cluster, class], of all jets.
        n_resamples: sets of as many jets, drawn with replacement.
        seed: of the draws.
    """
    n_jets = int(confusion.sum())
    draws = _draw(np.random.default_rng(seed), confusion, n_jets, n_resamples)
    return _percentiles(matched_jets(draws) / n_jets)


def batched_accuracy_interval(
    confusion: Confusion, batch_size: int, n_resamples: int, seed: int
) -> Interval:
    """Return the 95 % bootstrap interval of the accuracy that is matched anew in each batch.

    Each resample is a set of as many jets, drawn with replacement and cut into batches; those that
    fill no batch are left out, as published.
    """
    n_jets = int(confusion.sum())
    n_batches = max(n_jets // batch_size, 1)
    size = min(batch_size, n_jets)
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _CELLS_AT_A_TIME // (n_batches * confusion.size))
    means: list[Floats] = []
    for start in range(0, n_resamples, at_a_time):
        n_sets = min(at_a_time, n_resamples - start)
        draws = _draw(generator, confusion, size, n_sets * n_batches)
        means.append(matched_jets(draws).reshape(n_sets, n_batches).mean(axis=1) / size)
    return _percentiles(np.concatenate(means))


def _draw(
    generator: np.random.Generator, confusion: Confusion, n_jets: int, n_draws: int
) -> npt.NDArray[np.int64]:
    """Return int64 [draw, cluster, class]: jets drawn from a confusion matrix."""
    shares = confusion.reshape(-1) / confusion.sum()
    return generator.multinomial(n_jets, shares, size=n_draws).reshape(-1, *confusion.shape)


def _percentiles(values: Floats) -> Interval:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
