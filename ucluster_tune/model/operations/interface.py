"""What an implementation of the network's costly parts must do."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from ucluster_tune.data.format.packed import PackedBatch

Relu = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
"""ReLU(batch norm) as a pure function of values [row, channel], gamma and beta; returns the result
and the mean and variance that it used."""


class Graph(NamedTuple):
    """Which rows are neighbours of which; edges never leave a jet.

    Attributes:
        neighbors: int32 [row, neighbor]; rows.
        starts: int32 [jet + 1]; see `PackedBatch`.
    """

    neighbors: tf.Tensor
    starts: tf.Tensor


class LogitLayer(NamedTuple):
    """The layer that makes one attention logit of each edge.

    Attributes:
        weights: w, [channel, 1].
        gamma, beta: of its batch norm, [1].
        relu: ReLU(batch norm) of the products, [edge, 1].
    """

    weights: tf.Tensor
    gamma: tf.Tensor
    beta: tf.Tensor
    relu: Relu


class EdgeFeatures(NamedTuple):
    """What an attention block makes of its edges.

    Attributes:
        attended: sum_j c_ij y_ij, [row, channel].
        largest: max_j y_ij, [row, channel].
        logit_mean, logit_variance: of the logits w y_ij over all edges, [1].
    """

    attended: tf.Tensor
    largest: tf.Tensor
    logit_mean: tf.Tensor
    logit_variance: tf.Tensor


class Operations(Protocol):
    """One implementation of the network's costly parts, for float32 and float64."""

    @property
    def name(self) -> str:
        """`stock` or `fused`."""

    def edge_moments(
        self, values: tf.Tensor, graph: Graph, shares: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the means over edges of x_i - x_j and of its square, each [channel].

        Args:
            values: x, [row, channel].
            graph: the edges.
            shares: [row]; what each row's edges together count in the mean.
        """

    def edge_features(
        self,
        values: tf.Tensor,
        graph: Graph,
        scale: tf.Tensor,
        shift: tf.Tensor,
        logit: LogitLayer,
    ) -> EdgeFeatures:
        """Return what becomes of the edges y_ij = ReLU(scale (x_i - x_j) + shift).

        The coefficients c_ij are the softmax over j of ReLU(batch norm(w y_ij)).

        Args:
            values: x, [row, channel].
            graph: the edges.
            scale, shift: [channel].
            logit: makes w y_ij, and its ReLU(batch norm).
        """

    def batch_norm_relu(self, shares: tf.Tensor, epsilon: float) -> Relu:
        """Return ReLU(batch norm) with the moments of its argument, whose rows count `shares`.

        The shares, [row], sum to 1.
        """

    def scale_shift_relu(self, values: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Return ReLU(scale values + shift), [row, channel]; for inference, it has no gradient."""

    def feature_space_neighbors(
        self, values: tf.Tensor, batch: PackedBatch, n_neighbors: int, takes_padding_last: bool
    ) -> tf.Tensor:
        """Return int32 [row, neighbor]: rows nearest in the space of `values` [row, channel].

        Args:
            values: of the batch's rows.
            batch: the jets.
            n_neighbors: k.
            takes_padding_last: whether real constituents come before all padded ones. As
                published, padded ones take part like others.
        """
