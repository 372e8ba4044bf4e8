"""Yardsticks measured: chosen on training jets, held against validation and test jets.

See `training.yardsticks`. Nothing is fitted to jets that it is measured on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.manifest import HLS4ML_SOURCE
from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.data.format.substructure import OBSERVABLES, jet_observables
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import DataError
from ucluster_tune.training.agreement import measured_on
from ucluster_tune.training.mass_clusters import (
    N_INTERVALS,
    best_thresholds,
    intervals_of,
    kmeans_thresholds,
)
from ucluster_tune.training.yardsticks import (
    KMEANS_MASS,
    KMEANS_SUBSTRUCTURE,
    MASS_THRESHOLDS,
    Yardstick,
    Yardsticks,
)

Doubles = npt.NDArray[np.float64]

MEASURED_ON: Final = ("validation", "test")
_N_INIT: Final = 10
_REFERENCE_CLASSES: Final = ("w", "z", "t")


@dataclass(frozen=True)
class Clustered:
    """A way to cluster, applied.

    Attributes:
        name, uses_labels, how: as of `Yardstick`.
        n_clusters: that there can be.
        clusters: by split: int64 [jet], in the order of the data set.
    """

    name: str
    uses_labels: bool
    how: str
    n_clusters: int
    clusters: Mapping[str, IntArray]


def measure_yardsticks(
    dataset: JetDataset,
    n_clusters: int,
    evaluation_batch_size: int,
    seed: int,
    also: Sequence[Clustered] = (),
    most_training_jets: int = 50_000,
) -> tuple[Yardsticks, list[Clustered]]:
    """Return the yardsticks of a data set, and the clusters behind them.

    Takes some seconds for 15 000 jets; constituents are read a few thousand jets at a time.

    Args:
        dataset: opened, with all splits.
        n_clusters: of k-means; thresholds make three intervals.
        evaluation_batch_size: of the published protocol.
        seed: of k-means and of the intervals.
        also: other clusterings of the same jets, such as of published weights.
        most_training_jets: whose constituents are read; more would move no centre.

    Raises:
        DataError: the jets have no classes.
    """
    if not dataset.is_labelled:
        raise DataError(
            f"{dataset.config.path}: the jets have no classes, with which yardsticks are compared"
        )
    start = time.monotonic()
    labels = {split: dataset.read_masses(split) for split in ("train", *MEASURED_ON)}
    applied = [
        _by_mass(labels, seed, n_clusters, uses_labels=False),
        _by_mass(labels, seed, N_INTERVALS, uses_labels=True),
        _by_substructure(dataset, n_clusters, seed, most_training_jets),
        *also,
    ]
    n_classes = len(dataset.class_names)
    yardsticks = [
        Yardstick(
            way.name,
            way.uses_labels,
            way.how,
            {
                split: measured_on(
                    cluster,
                    labels[split][1],
                    (way.n_clusters, n_classes),
                    evaluation_batch_size,
                    seed=seed,
                )
                for split, cluster in way.clusters.items()
            },
        )
        for way in applied
    ]
    found = Yardsticks(
        dataset_name=dataset.manifest.name,
        dataset_checksum=dataset.manifest.dataset_checksum,
        class_names=list(dataset.class_names),
        evaluation_batch_size=evaluation_batch_size,
        n_chosen_on=len(labels["train"][0]),
        is_reference_data=_is_reference_data(dataset),
        yardsticks=yardsticks,
        seconds=round(time.monotonic() - start, 2),
    )
    return found, applied


def _by_mass(
    labels: Mapping[str, tuple[Any, IntArray]], seed: int, n_clusters: int, *, uses_labels: bool
) -> Clustered:
    """Return the clusters by mass: of k-means, or by the best thresholds where labels are used."""
    mass_gev, jet_class = labels["train"]
    cuts = (
        best_thresholds(mass_gev, jet_class)
        if uses_labels
        else kmeans_thresholds(mass_gev, n_clusters, seed)
    )
    at = " and ".join(f"{cut:.1f}" for cut in cuts)
    n_jets = f"{len(mass_gev):,} training jets"
    how = (
        f"cuts at {at} GeV, the most accurate ones on {n_jets} with their classes"
        if uses_labels
        else f"borders at {at} GeV, midway between the centres of {n_jets}"
    )
    clusters = {split: intervals_of(labels[split][0], cuts) for split in MEASURED_ON}
    name = MASS_THRESHOLDS if uses_labels else KMEANS_MASS
    return Clustered(name, uses_labels, how, n_clusters, clusters)


def _by_substructure(dataset: JetDataset, n_clusters: int, seed: int, most: int) -> Clustered:
    """Return k-means on the observables of `data.format.substructure`, scaled alike."""
    training = _observables(dataset, "train", most)
    assign = _kmeans(training, n_clusters, seed)
    how = (
        f"{', '.join(OBSERVABLES)}, each scaled to unit variance; centres of"
        f" {len(training):,} training jets"
    )
    clusters = {split: assign(_observables(dataset, split)) for split in MEASURED_ON}
    return Clustered(KMEANS_SUBSTRUCTURE, False, how, n_clusters, clusters)


def _kmeans(points: Doubles, n_clusters: int, seed: int) -> Callable[[Doubles], IntArray]:
    from sklearn.cluster import KMeans  # a second of import that readers need not pay
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_distinct = len(np.unique(points, axis=0))
    fit = make_pipeline(
        StandardScaler(),
        KMeans(min(n_clusters, n_distinct), n_init=_N_INIT, random_state=seed),
    ).fit(points)
    return lambda others: np.asarray(fit.predict(others), np.int64)


def _observables(dataset: JetDataset, split: str, most: int | None = None) -> Doubles:
    """Return float64 [jet, observable] of a split, or of its first `most` jets."""
    pieces = [Piece(i, 0, g.n_jets) for i, g in enumerate(dataset.row_groups[split])]
    found: list[Doubles] = []
    for jets in dataset.blocks_of(split, pieces):
        found.append(jet_observables(jets))
        if most is not None and sum(map(len, found)) >= most:
            break
    return np.concatenate(found)[:most]


def _is_reference_data(dataset: JetDataset) -> bool:
    """Return whether the published accuracy is about these jets, as far as is known."""
    source = dataset.manifest.source
    return source.startswith(HLS4ML_SOURCE) and set(dataset.class_names) == set(_REFERENCE_CLASSES)
