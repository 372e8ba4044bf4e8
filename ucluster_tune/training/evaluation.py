"""Clusters of jets in inference mode, and how well they agree with the classes."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.data.packed import IntArray, PackedBatch, PackedJets
from ucluster_tune.training.group import Group
from ucluster_tune.training.metrics import (
    ClusterQuality,
    Confusion,
    batched_accuracies,
    cluster_quality,
    confusion_matrix,
)

_INFERENCE_BATCH = 128  # small enough to stay in the processor's caches
_MAX_KEPT_JETS = 3000


@dataclass(frozen=True)
class Evaluation:
    """Clusters of this rank's jets; their quality over the jets of all ranks.

    Attributes:
        quality: over all ranks.
        confusion: int64 [cluster, class], over all ranks.
        embedding: float32 [jet, dim] of this rank.
        cluster: int64 [jet]; the nearest centroid.
        jet_class: int64 [jet].
        mass_gev: float32 [jet].
        centroids: float32 [cluster, dim].
        class_names: of the columns of `confusion`.
    """

    quality: ClusterQuality
    confusion: Confusion
    embedding: npt.NDArray[np.float32]
    cluster: IntArray
    jet_class: IntArray
    mass_gev: npt.NDArray[np.float32]
    centroids: npt.NDArray[np.float32]
    class_names: tuple[str, ...]

    def contents(self) -> bytes:
        """Return the file of what a picture of the clusters needs; at most 3000 jets."""
        archive = io.BytesIO()
        np.savez(
            archive,
            embedding=self.embedding[:_MAX_KEPT_JETS],
            cluster=self.cluster[:_MAX_KEPT_JETS],
            jet_class=self.jet_class[:_MAX_KEPT_JETS],
            mass_gev=self.mass_gev[:_MAX_KEPT_JETS],
            centroids=self.centroids,
            confusion=self.confusion,
            class_names=np.array(self.class_names),
        )
        return archive.getvalue()


def evaluate(
    jets: PackedJets,
    make_batch: Callable[[PackedJets, IntArray], PackedBatch],
    infer: Callable[[PackedBatch], tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    centroids: npt.NDArray[np.float32],
    class_names: Sequence[str],
    evaluation_batch_size: int,
    group: Group,
) -> Evaluation:
    """Return the clusters of `jets` and their quality.

    Args:
        jets: this rank's.
        make_batch: returns chosen jets as tensors.
        infer: returns embedding, logits and squared distances of a batch.
        centroids: float32 [cluster, dim].
        class_names: of the data set.
        evaluation_batch_size: of the published protocol.
        group: the workers, whose counts are summed.
    """
    embeddings, clusters = [], []
    for start in range(0, len(jets), _INFERENCE_BATCH):
        chosen = np.arange(start, min(start + _INFERENCE_BATCH, len(jets)))
        embedding, _, distances = infer(make_batch(jets, chosen))
        embeddings.append(embedding.numpy())
        clusters.append(np.argmin(distances.numpy(), axis=1))
    cluster = np.concatenate(clusters).astype(np.int64)

    shape = (len(centroids), len(class_names))
    local = confusion_matrix(cluster, jets.jet_class, *shape)
    in_batches = batched_accuracies(cluster, jets.jet_class, *shape, evaluation_batch_size)
    counts = np.concatenate([local.reshape(-1), [sum(in_batches), len(in_batches)]])
    counts = group.sum_tensor(tf.constant(counts, tf.float64), name="evaluation").numpy()
    confusion = counts[:-2].round().astype(np.int64).reshape(shape)
    return Evaluation(
        quality=cluster_quality(confusion, float(counts[-2] / counts[-1])),
        confusion=confusion,
        embedding=np.concatenate(embeddings),
        cluster=cluster,
        jet_class=jets.jet_class,
        mass_gev=jets.mass_gev,
        centroids=centroids,
        class_names=tuple(class_names),
    )
