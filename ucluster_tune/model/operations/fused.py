"""The costly parts of the network as operations of our own in C++, each with its gradient.

The sources are in `csrc`, the library that `build` makes of them is loaded here.
"""

from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf

from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.operations.build import UnusableLibraryError, built_library
from ucluster_tune.model.operations.interface import EdgeFeatures, Graph, LogitLayer, Relu

__all__ = ["FusedOperations", "UnusableLibraryError"]


class FusedOperations:
    """`Operations` in C++, for CPUs.

    Args:
        library: built from the sources for this TensorFlow.
    """

    name = "fused"

    def __init__(self, library: Path) -> None:
        self.library = library
        self._operations = _loaded(library)

    @classmethod
    def load(cls) -> "FusedOperations":
        """Return the operations of this installation, built where they are not yet.

        Raises:
            UnusableLibraryError: they cannot be had on this machine; says why.
        """
        return cls(built_library())

    def edge_moments(
        self, values: tf.Tensor, graph: Graph, shares: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the means over edges of x_i - x_j and of its square; see `Operations`."""
        share_of_edge = shares / graph.neighbors.shape[1]
        sums = self._operations.ucluster_edge_moments(values, *graph, share_of_edge)
        return sums[0], sums[1]

    def edge_features(
        self,
        values: tf.Tensor,
        graph: Graph,
        scale: tf.Tensor,
        shift: tf.Tensor,
        logit: LogitLayer,
    ) -> EdgeFeatures:
        """Return what becomes of the edges, without keeping one; see `Operations`."""
        edges = (values, *graph, scale, shift)
        logits = self._operations.ucluster_edge_logits(*edges, logit.weights[:, 0])
        normed, mean, variance = logit.relu(tf.reshape(logits, [-1, 1]), logit.gamma, logit.beta)
        coefficients = tf.nn.softmax(tf.reshape(normed, [-1, graph.neighbors.shape[1]]))
        attended, largest = self._operations.ucluster_edge_features(*edges, coefficients)
        return EdgeFeatures(attended, largest, mean, variance)

    def batch_norm_relu(self, shares: tf.Tensor, epsilon: float) -> Relu:
        """Return ReLU(batch norm) with its argument's own moments; see `Operations`."""

        def relu(
            values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            result: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = (
                self._operations.ucluster_batch_norm_relu(values, gamma, beta, shares, epsilon)
            )
            return result

        return relu

    def scale_shift_relu(self, values: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Return ReLU(scale values + shift); see `Operations`."""
        return self._operations.ucluster_scale_shift_relu(values, scale, shift)

    def feature_space_neighbors(
        self, values: tf.Tensor, batch: PackedBatch, n_neighbors: int, takes_padding_last: bool
    ) -> tf.Tensor:
        """Return the nearest rows in the space of `values`; see `Operations`."""
        return self._operations.ucluster_neighbors(
            tf.stop_gradient(values),
            batch.starts,
            batch.n_padded,
            n_neighbors=n_neighbors,
            takes_padding_last=takes_padding_last,
        )


@cache
def _loaded(library: Path) -> Any:
    """Return the library's operations, whose gradients TensorFlow then knows."""
    operations = tf.load_op_library(str(library))

    @tf.RegisterGradient("UclusterEdgeMoments")  # type: ignore[untyped-decorator]
    def _of_moments(operation: Any, d_sums: tf.Tensor) -> list[Any]:
        d_values = operations.ucluster_edge_moments_grad(*operation.inputs, d_sums)
        return [d_values, None, None, None]

    @tf.RegisterGradient("UclusterEdgeLogits")  # type: ignore[untyped-decorator]
    def _of_logits(operation: Any, d_logits: tf.Tensor) -> list[Any]:
        d_values, *others = operations.ucluster_edge_logits_grad(*operation.inputs, d_logits)
        return [d_values, None, None, *others]

    @tf.RegisterGradient("UclusterEdgeFeatures")  # type: ignore[untyped-decorator]
    def _of_features(operation: Any, d_attended: tf.Tensor, d_largest: tf.Tensor) -> list[Any]:
        d_values, *others = operations.ucluster_edge_features_grad(
            *operation.inputs, operation.outputs[1], d_attended, d_largest
        )
        return [d_values, None, None, *others]

    @tf.RegisterGradient("UclusterBatchNormRelu")  # type: ignore[untyped-decorator]
    def _of_batch_norm(operation: Any, d_output: tf.Tensor, *_moments: tf.Tensor) -> list[Any]:
        values, gamma, _beta, shares, epsilon = operation.inputs
        output, mean, variance = operation.outputs
        gradients = operations.ucluster_batch_norm_relu_grad(
            values,
            gamma,
            mean,
            variance,
            shares,
            output,
            epsilon,
            d_output,
        )
        return [*gradients, None, None]

    return operations
