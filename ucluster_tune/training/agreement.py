"""How well clusters of jets agree with their classes: a network's, or those by mass alone."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ucluster_tune.data.format.packed import FloatArray, IntArray
from ucluster_tune.data.reading.labels import SelectedLabels
from ucluster_tune.training.mass_clusters import (
    N_INTERVALS,
    Floats,
    best_thresholds,
    intervals_of,
    kmeans_thresholds,
)
from ucluster_tune.training.matching import (
    accuracy_interval,
    batched_accuracy_interval,
)
from ucluster_tune.training.metrics import (
    Confusion,
    batched_accuracies,
    cluster_quality,
    confusion_matrix,
)
from ucluster_tune.training.yardsticks import Interval, Measured

PUBLISHED_BATCH: Final = 512
N_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class ClassQuality:
    """One class and the cluster that is matched with it.

    Attributes:
        cluster: None where the class got none, as with fewer clusters than classes.
        n_jets: of the class.
        efficiency: share of the class's jets in that cluster; 0 without one.
        purity: share of the cluster's jets that are of the class; None without one, or empty.
    """

    cluster: int | None
    n_jets: int
    efficiency: float
    purity: float | None


@dataclass(frozen=True)
class Agreement:
    """How well clusters agree with classes; see `EpochRecord` for the meaning of the numbers.

    Attributes:
        clustering_accuracy_interval, clustering_accuracy_batched_interval: 95 %, bootstrap.
        by_class: of each class.
        confusion: jets by [cluster][class].
        thresholds_gev: of clusters by mass; None of others.
    """

    clustering_accuracy: float
    clustering_accuracy_interval: Interval
    clustering_accuracy_batched: float
    clustering_accuracy_batched_interval: Interval
    purity: float
    nmi: float
    ari: float
    by_class: dict[str, ClassQuality]
    confusion: list[list[int]]
    thresholds_gev: list[list[float]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def agreement_of(
    cluster: IntArray,
    labels: SelectedLabels,
    n_clusters: int,
    n_resamples: int,
    seed: int,
    thresholds_gev: list[list[float]] | None = None,
) -> Agreement:
    """Return all numbers about a clustering.

    Args:
        cluster: int64 [jet].
        labels: of the same jets, in the same order.
        n_clusters: that there can be.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        thresholds_gev: only kept.
    """
    shape = (n_clusters, len(labels.class_names))
    measured = measured_on(cluster, labels.jet_class, shape, PUBLISHED_BATCH, n_resamples, seed)
    values = vars(measured).copy()
    del values["n_jets"]
    return Agreement(
        **values,
        by_class=_by_class(np.array(measured.confusion), labels.class_names),
        thresholds_gev=thresholds_gev,
    )


def measured_on(
    cluster: IntArray,
    jet_class: IntArray,
    shape: tuple[int, int],
    evaluation_batch_size: int,
    n_resamples: int = N_RESAMPLES,
    seed: int = 1,
) -> Measured:
    """Return how well the clusters of jets agree with their classes.

    Args:
        cluster: int64 [jet].
        jet_class: int64 [jet].
        shape: clusters that there can be, and classes.
        evaluation_batch_size: in which the published protocol matches anew.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    confusion = confusion_matrix(cluster, jet_class, *shape)
    batched = batched_accuracies(cluster, jet_class, *shape, evaluation_batch_size)
    return Measured(
        n_jets=len(cluster),
        **vars(cluster_quality(confusion, float(np.mean(batched)))),
        clustering_accuracy_interval=accuracy_interval(confusion, n_resamples, seed),
        clustering_accuracy_batched_interval=batched_accuracy_interval(
            confusion, evaluation_batch_size, n_resamples, seed
        ),
        confusion=confusion.tolist(),
    )


def agreement_by_mass(
    labels: SelectedLabels,
    training: SelectedLabels | None,
    n_clusters: int,
    n_resamples: int,
    seed: int,
) -> dict[str, Agreement]:
    """Return how well the mass alone does: `kmeans_mass` and `mass_thresholds`.

    Args:
        labels: of the jets that are measured.
        training: of other jets, on which the clusters are chosen; None where there are none, so
            that each half of the jets is measured with what was chosen on the other half.
        n_clusters: of k-means; thresholds are two, which make three.
        n_resamples: of the bootstrap.
        seed: of k-means and bootstrap.
    """

    def kmeans(mass_gev: FloatArray, _: IntArray) -> Floats:
        return kmeans_thresholds(mass_gev, n_clusters, seed)

    found = {}
    for name, choose, n_intervals in (
        ("kmeans_mass", kmeans, n_clusters),
        ("mass_thresholds", best_thresholds, N_INTERVALS),
    ):
        cluster = np.zeros(len(labels.mass_gev), np.int64)
        thresholds = []
        for chosen_on, applied_to in _folds(labels, training):
            cuts = choose(*chosen_on)
            cluster[applied_to] = intervals_of(labels.mass_gev[applied_to], cuts)
            thresholds.append(cuts.tolist())
        found[name] = agreement_of(cluster, labels, n_intervals, n_resamples, seed, thresholds)
    return found


def _folds(
    labels: SelectedLabels, training: SelectedLabels | None
) -> list[tuple[tuple[FloatArray, IntArray], slice]]:
    """Return masses and classes to choose on, and the jets that the choice is applied to."""
    if training is not None:
        return [((training.mass_gev, training.jet_class), slice(None))]
    halves = (slice(0, None, 2), slice(1, None, 2))
    if len(labels.mass_gev) < len(halves):
        return [((labels.mass_gev, labels.jet_class), slice(None))]
    return [
        ((labels.mass_gev[chosen], labels.jet_class[chosen]), applied)
        for chosen, applied in (halves, halves[::-1])
    ]


def _by_class(confusion: Confusion, class_names: tuple[str, ...]) -> dict[str, ClassQuality]:
    from scipy.optimize import linear_sum_assignment  # slow to load

    clusters, classes = linear_sum_assignment(confusion, maximize=True)
    cluster_of = {int(c): int(k) for k, c in zip(clusters, classes, strict=True)}
    qualities = {}
    for index, name in enumerate(class_names):
        n_jets, cluster = int(confusion[:, index].sum()), cluster_of.get(index)
        n_matched = 0 if cluster is None else int(confusion[cluster, index])
        n_in_cluster = 0 if cluster is None else int(confusion[cluster].sum())
        qualities[name] = ClassQuality(
            cluster=cluster,
            n_jets=n_jets,
            efficiency=n_matched / n_jets,
            purity=n_matched / n_in_cluster if n_in_cluster else None,
        )
    return qualities
