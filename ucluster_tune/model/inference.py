"""A network at rest as a function of batches: embeddings, and distances to the clusters."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import tensorflow as tf

from ucluster_tune.data.format.features import N_FEATURES
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.abcnet import Abcnet

Infer: TypeAlias = Callable[[PackedBatch], tuple[tf.Tensor, tf.Tensor]]
"""Returns embedding [jet, dim] and distances [jet, cluster], as `Abcnet.distances` has them."""

INFERENCE_BATCH: Final = 64  # jets; small enough to stay in the processor's caches


def inference_of(network: Abcnet, parameters: Any, averages: Any) -> Infer:
    """Return the inference of a network, traced once for batches of any size.

    Args:
        network: shapes.
        parameters: float32 [parameters.size]; an array, or a variable that may change later.
        averages: float32 [averages.size]; batch-norm averages, likewise.
    """
    spec = batch_spec(network.config.n_neighbors, parameters.dtype)

    @tf.function(input_signature=[spec], autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def infer(batch: PackedBatch) -> tuple[tf.Tensor, tf.Tensor]:
        weights = network.parameters.unpack(tf.convert_to_tensor(parameters))
        stored = network.averages.unpack(tf.convert_to_tensor(averages))
        embedding, logits = network.in_inference(weights, stored, batch)
        return embedding, network.distances(weights, embedding, logits)

    return infer  # type: ignore[no-any-return]


def batch_spec(n_neighbors: int, dtype: tf.DType) -> PackedBatch:
    """Return what a traced function takes: a batch of any number of jets."""
    return PackedBatch(
        features=tf.TensorSpec([None, N_FEATURES], dtype),
        weights=tf.TensorSpec([None], dtype),
        jet=tf.TensorSpec([None], tf.int32),
        first_neighbors=tf.TensorSpec([None, n_neighbors], tf.int32),
        dense_rows=tf.TensorSpec([None, None], tf.int32),
        dense_columns=tf.TensorSpec([None, None], tf.int32),
        starts=tf.TensorSpec([None], tf.int32),
        n_padded=tf.TensorSpec([None], tf.int32),
    )
