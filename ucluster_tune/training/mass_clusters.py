"""Clusters from the jet mass alone: what a network has to beat.

Chosen on some jets and applied to others, so that nothing is fitted to the jets it is measured on.
"""

from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.packed import FloatArray, IntArray
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.training.metrics import (
    batched_accuracies,
    cluster_quality,
    confusion_matrix,
)

Floats = npt.NDArray[np.floating[Any]]
_N_INIT = 10
N_INTERVALS = 3


def kmeans_thresholds(mass_gev: FloatArray, n_clusters: int, seed: int) -> Floats:
    """Return the borders between the clusters that k-means finds on the mass, ascending [GeV].

    With one coordinate, the nearest centre is known from the midpoints between centres.
    """
    from sklearn.cluster import KMeans  # a second that `--help` need not pay

    n_distinct = len(np.unique(mass_gev))
    fit = KMeans(min(n_clusters, n_distinct), n_init=_N_INIT, random_state=seed)
    centres = np.sort(fit.fit(mass_gev[:, None].astype(np.float64)).cluster_centers_[:, 0])
    return np.asarray((centres[1:] + centres[:-1]) / 2)


def best_thresholds(mass_gev: FloatArray, jet_class: IntArray) -> Floats:
    """Return the two masses [GeV] that cut the jets into the three most accurate intervals.

    The accuracy is that of a matching of intervals to classes one to one. All pairs of cuts
    between different masses are compared, in a time proportional to the number of jets.

    >>> best_thresholds(np.array([80., 82., 91., 170.]), np.array([0, 0, 1, 2])).tolist()
    [86.5, 130.5]
    """
    order = np.argsort(mass_gev, kind="stable")
    masses, classes = mass_gev[order].astype(np.float64), jet_class[order]
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(masses)) + 1, [len(masses)]])
    n_classes = max(int(classes.max()) + 1, N_INTERVALS)  # one without jets matches nothing
    counts = np.zeros((n_classes, len(masses) + 1), np.int64)
    for index in range(n_classes):
        np.cumsum(classes == index, out=counts[index, 1:])
    below = counts[:, cuts]  # [class, cut]: jets before each cut

    best, best_cuts = -1, (0, 0)
    for first, second, third in permutations(range(n_classes), N_INTERVALS):
        gain_of_first_cut = below[first] - below[second]
        best_first = np.maximum.accumulate(gain_of_first_cut)
        gains = best_first + below[second] - below[third]
        upper = int(np.argmax(gains))
        matched = int(gains[upper]) + int(below[third, -1])
        if matched > best:
            best, best_cuts = matched, (int(np.argmax(gain_of_first_cut[: upper + 1])), upper)
    return np.array([_threshold(masses, int(cuts[cut])) for cut in best_cuts])


def kmeans_mass(
    dataset: JetDataset, split: str, n_clusters: int, evaluation_batch_size: int, seed: int
) -> dict[str, Any]:
    """Return the quality of k-means on the jet mass alone, as plain values.

    The centres are those of the training jets; the jets of `split` go to the nearest one.
    """
    train_mass_gev, _ = dataset.read_masses("train")
    mass_gev, jet_class = dataset.read_masses(split)
    cluster = intervals_of(mass_gev, kmeans_thresholds(train_mass_gev, n_clusters, seed))
    shape = (n_clusters, len(dataset.class_names))
    confusion = confusion_matrix(cluster, jet_class, *shape)
    in_batches = batched_accuracies(cluster, jet_class, *shape, evaluation_batch_size)
    quality = cluster_quality(confusion, float(np.mean(in_batches)))
    return {**vars(quality), "confusion": confusion.tolist(), "split": split}


def intervals_of(mass_gev: FloatArray, thresholds: Floats) -> IntArray:
    """Return int64 [jet]: the number of thresholds at or below each mass."""
    return np.searchsorted(thresholds, mass_gev.astype(np.float64), side="right")


def _threshold(masses: Floats, n_below: int) -> float:
    """Return a mass with `n_below` of the sorted masses below it."""
    if n_below == 0:
        return float(masses[0])
    if n_below == len(masses):
        return float(np.nextafter(masses[-1], np.inf))
    return float((masses[n_below - 1] + masses[n_below]) / 2)
