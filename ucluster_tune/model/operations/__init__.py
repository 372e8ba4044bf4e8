"""The parts of the network that cost the time: in stock TensorFlow, or fused in C++ for CPUs.

Both compute the same, to rounding; the fused ones make the edges of a jet in the cache where they
are needed, also for the gradient, and keep none. Which of the two a process has is decided once,
by `best_operations`.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Protocol

import tensorflow as tf

from ucluster_tune.model.operations.fused import load_fused
from ucluster_tune.model.operations.graph import Graph
from ucluster_tune.model.operations.stock import StockOperations

_LOGGER = logging.getLogger(__name__)

Relu = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
"""ReLU(batch norm) as a pure function of values [row, channel], gamma and beta; returns the result
and the mean and variance that it used."""


class Operations(Protocol):
    """One implementation of the network's costly parts, for float32 and float64.

    Attributes:
        name: `stock` or `fused`.
    """

    @property
    def name(self) -> str:
        """The implementation's name."""

    def edge_moments(
        self, values: tf.Tensor, graph: Graph, shares: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean of x_i - x_j and of its square over all edges, each [channel].

        Args:
            values: x, [row, channel].
            graph: the edges.
            shares: [row]; of each row's edges in the mean, together.
        """

    def attend_to_edges(
        self,
        values: tf.Tensor,
        graph: Graph,
        scale: tf.Tensor,
        shift: tf.Tensor,
        logit_weights: tf.Tensor,
        softmax: Callable[[tf.Tensor], tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return sum_j c_ij y_ij and max_j y_ij, each [row, channel].

        Args:
            values: x, [row, channel]; an edge is y_ij = ReLU(scale (x_i - x_j) + shift).
            graph: the edges.
            scale, shift: [channel].
            logit_weights: w, [channel, 1].
            softmax: makes the coefficients c_ij [row, neighbor] of the logits w y_ij, of one shape.
        """

    def batch_norm_relu(self, shares: tf.Tensor, epsilon: float) -> Relu:
        """Return ReLU(batch norm) with the moments of its argument, whose rows weigh `shares`.

        The shares, [row], sum to 1.
        """

    def scale_shift_relu(
        self, values: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor
    ) -> tf.Tensor:
        """Return ReLU(values scale + shift), [row, channel]; of `shift` and `scale` [channel]."""


@cache
def best_operations() -> Operations:
    """Return the fused operations where this process uses no GPU and has them, else the stock ones.

    Says in the log which, and why. Called once TensorFlow's devices are chosen.
    """
    if tf.config.get_visible_devices("GPU"):
        _LOGGER.info("network operations: stock TensorFlow, for the GPU")
        return StockOperations()
    fused, told = load_fused()
    _LOGGER.info("network operations: %s", told)
    return fused or StockOperations()
