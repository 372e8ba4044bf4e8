"""Which rows of a batch are neighbours of which."""

from typing import NamedTuple

import tensorflow as tf


class Graph(NamedTuple):
    """Each row's neighbours; edges never leave a jet.

    Attributes:
        neighbors: int32 [row, neighbor]; rows.
        starts: int32 [jet + 1]; the first row of each jet, then the number of rows.
    """

    neighbors: tf.Tensor
    starts: tf.Tensor
