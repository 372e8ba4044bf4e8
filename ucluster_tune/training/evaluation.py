"""Clusters of jets in inference mode, and how well they agree with the classes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.data.feeding.feed import JetBatch
from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.packed import IntArray, PackedBatch
from ucluster_tune.model.inference import Infer
from ucluster_tune.training.group import Group
from ucluster_tune.training.kmeans import stability
from ucluster_tune.training.metrics import (
    NO_QUALITY,
    ClusterCounts,
    ClusterQuality,
    Confusion,
    cluster_quality,
    silhouettes,
)

MAX_KEPT_JETS = 3000
_LN_PT, _LN_PT_REL = (FEATURE_NAMES.index(name) for name in ("ln_pt", "ln_pt_rel"))


@dataclass(frozen=True)
class Evaluation:
    """Quality of clusters over the jets of all ranks, and this rank's first 3000 jets themselves.

    Attributes:
        quality: over all ranks.
        confusion: int64 [cluster, class], over all ranks; without a column for no classes.
        embedding: float32 [jet, dim].
        cluster: int64 [jet]; the nearest centroid.
        jet_class: int64 [jet]; -1 where jets have no classes.
        mass_gev: float32 [jet].
        pt_gev: float32 [jet].
        centroids: float32 [cluster, dim].
        class_names: of the columns of `confusion`.
        n_not_finite: jets over all ranks whose distance to a centroid is NaN or infinite.
        silhouette: mean over the jets of all ranks, see `training.metrics.silhouettes`.
        stability: of the jets that rank 0 keeps, see `training.kmeans.stability`.
    """

    quality: ClusterQuality
    confusion: Confusion
    embedding: npt.NDArray[np.float32]
    cluster: IntArray
    jet_class: IntArray
    mass_gev: npt.NDArray[np.float32]
    pt_gev: npt.NDArray[np.float32]
    centroids: npt.NDArray[np.float32]
    class_names: tuple[str, ...]
    n_not_finite: int
    silhouette: float
    stability: float

    def contents(self) -> bytes:
        """Return the file of what a picture of the clusters needs."""
        archive = io.BytesIO()
        np.savez(
            archive,
            embedding=self.embedding,
            cluster=self.cluster,
            jet_class=self.jet_class,
            mass_gev=self.mass_gev,
            pt_gev=self.pt_gev,
            centroids=self.centroids,
            confusion=self.confusion,
            class_names=np.array(self.class_names),
        )
        return archive.getvalue()


def evaluate(
    batches: Iterable[JetBatch[PackedBatch]],
    infer: Infer,
    centroids: npt.NDArray[np.float32],
    class_names: Sequence[str],
    evaluation_batch_size: int,
    group: Group,
    most_kept: int = MAX_KEPT_JETS,
) -> Evaluation:
    """Return the clusters of jets and their quality; memory does not grow with their number.

    Args:
        batches: this rank's jets, in their order.
        infer: of the network that is measured.
        centroids: float32 [cluster, dim].
        class_names: of the data set; none where jets have no classes.
        evaluation_batch_size: of the published protocol.
        group: the workers, whose counts are summed.
        most_kept: jets that are kept themselves.
    """
    # Jets without classes are all of one, so that there is a number of them by cluster.
    counts = ClusterCounts(len(centroids), max(len(class_names), 1), evaluation_batch_size)
    kept: list[tuple[npt.NDArray[np.generic], ...]] = []
    n_kept = n_not_finite = 0
    silhouette = 0.0
    for jets in batches:
        embedding, squared = infer(jets.batch)
        distances = squared.numpy()
        n_not_finite += int((~np.isfinite(distances)).any(axis=1).sum())
        silhouette += float(silhouettes(distances).sum())
        cluster = np.argmin(distances, axis=1).astype(np.int64)
        counts.add(cluster, jets.jet_class if class_names else np.zeros_like(cluster))
        if n_kept < most_kept:
            few = slice(most_kept - n_kept)
            pt_gev = jet_pt_gev(jets.batch)
            arrays = (embedding.numpy(), cluster, jets.jet_class, jets.mass_gev, pt_gev)
            kept.append(tuple(array[few] for array in arrays))
            n_kept += len(kept[-1][0])
    confusion, accuracy_batched, n_not_finite, silhouette = _summed(
        counts, n_not_finite, silhouette, group
    )
    embedding, cluster, jet_class, mass_gev, pt_gev = map(np.concatenate, zip(*kept, strict=True))
    return Evaluation(
        quality=cluster_quality(confusion, accuracy_batched) if class_names else NO_QUALITY,
        confusion=confusion[:, : len(class_names)],
        embedding=embedding,
        cluster=cluster,
        jet_class=jet_class,
        mass_gev=mass_gev,
        pt_gev=pt_gev,
        centroids=centroids,
        class_names=tuple(class_names),
        n_not_finite=n_not_finite,
        silhouette=silhouette,
        stability=_stability(embedding, len(centroids), group),
    )


def _stability(embedding: npt.NDArray[np.float32], n_clusters: int, group: Group) -> float:
    # One seed, so that all trials and epochs are held against the same halves; one rank for all.
    own = stability(embedding[:MAX_KEPT_JETS], n_clusters, seed=0) if group.rank == 0 else 0.0
    return float(group.broadcast(np.array([own], np.float32), name="stability")[0])


def jet_pt_gev(batch: PackedBatch) -> npt.NDArray[np.float32]:
    """Return the transverse momentum of each jet: float32 [jet], in GeV.

    Of a jet's first constituent two features tell it: ln(pt / GeV) and ln(pt / pt of the jet).
    """
    first = np.asarray(batch.features)[np.asarray(batch.starts)[:-1]]
    return np.asarray(np.exp(first[:, _LN_PT] - first[:, _LN_PT_REL]), np.float32)


def _summed(
    counts: ClusterCounts, n_not_finite: int, silhouette: float, group: Group
) -> tuple[Confusion, float, int, float]:
    """Return confusion matrix, mean accuracy in batches, jets not finite and mean silhouette.

    All are over all ranks; what is given is this rank's, the silhouettes as a sum.
    """
    local = counts.confusion
    numbers = np.concatenate([local.reshape(-1), counts.batched(), [n_not_finite, silhouette]])
    numbers = group.sum_tensor(tf.constant(numbers, tf.float64), name="evaluation").numpy()
    confusion = numbers[:-4].round().astype(np.int64).reshape(local.shape)
    accuracy_batched, n_not_finite = float(numbers[-4] / numbers[-3]), round(float(numbers[-2]))
    return confusion, accuracy_batched, n_not_finite, float(numbers[-1] / max(confusion.sum(), 1))
