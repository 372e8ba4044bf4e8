"""The two searches for nearest neighbours among the constituents of a jet.

The first one works on the input alone and is made ahead of the steps: once for all epochs for jets
that stay in memory. The second one works in the space that the network learns. No gradient flows
through either choice.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.format.features import N_FEATURES
from ucluster_tune.data.format.packed import PackedJets

_JETS_AT_A_TIME = 256
_FARTHEST = 1e30  # beyond any distance, but nearer than what is absent
ETA_REL, PHI_REL, LN_PT_REL = 0, 1, 2  # columns of the features


class FirstNeighborSearch:
    """The first search as a function of jets, traced once for any number of them.

    Args:
        model: whose neighbours.

    Attributes:
        n_neighbors: k.
        padding_distance: see `first_neighbors`.
    """

    def __init__(self, model: ModelConfig) -> None:
        self.n_neighbors, self.padding_distance = model.n_neighbors, model.padding_distance

        @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow has no types
            input_signature=[
                tf.TensorSpec([None, N_FEATURES], tf.float32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
            autograph=False,
        )
        def search(
            features: tf.Tensor, dense_rows: tf.Tensor, dense_columns: tf.Tensor, k: tf.Tensor
        ) -> tf.Tensor:
            return first_neighbors(features, dense_rows, dense_columns, k, model.padding_distance)

        self._search = search

    def __call__(self, jets: PackedJets, at_least: int = 0) -> PackedJets:
        """Return `jets` with k first neighbours of each row, or with more where asked for."""
        found, k = [], max(self.n_neighbors, at_least)
        for start in range(0, len(jets), _JETS_AT_A_TIME):
            chosen = np.arange(start, min(start + _JETS_AT_A_TIME, len(jets)))
            batch = jets.batch(chosen, k)
            rows = self._search(batch.features, batch.dense_rows, batch.dense_columns, k).numpy()
            offsets = jets.first_rows[chosen] - jets.first_rows[start]
            found.append((rows - offsets[batch.jet][:, None]).astype(np.int16))
        return replace(jets, first_neighbors=np.concatenate(found))


def first_neighbors(
    features: tf.Tensor,
    dense_rows: tf.Tensor,
    dense_columns: tf.Tensor,
    n_neighbors: int | tf.Tensor,
    padding_distance: float,
) -> tf.Tensor:
    """Return int32 [row, neighbor]: rows nearest in (eta_rel, phi_rel), the nearest first.

    The row itself is one of them. Those for a smaller k are the first of them.

    Args:
        features: float32 [row, feature].
        dense_rows, dense_columns: see `PackedBatch`.
        n_neighbors: k.
        padding_distance: added to the squared distance for each end with ln(pt_rel) = 0, which
            is how the published code tells padding.

    As published, the terms are added in single precision in this order, so that ties, which
    padding makes, fall the same way; and a difference of phi is brought back by 2 pi only when it
    is at or beyond 2 pi.
    """
    coordinates = features[:, ETA_REL : PHI_REL + 1]
    shift = tf.where(features[:, LN_PT_REL] == 0.0, padding_distance, 0.0)
    rows, columns = _dense(coordinates, dense_rows), _dense(coordinates, dense_columns)
    distance = _squared_distance(rows, columns)
    delta_phi = tf.abs(rows[:, :, None, 1] - columns[:, None, :, 1])
    # (2 pi - delta_phi)^2 - delta_phi^2
    wrapped = 4 * np.pi**2 - 4 * np.pi * delta_phi
    distance += tf.where(delta_phi >= 2 * np.pi, wrapped, tf.zeros_like(wrapped))
    distance += _dense(shift, dense_rows)[:, :, None]
    distance += _dense(shift, dense_columns)[:, None, :]
    return _nearest(distance, dense_rows, dense_columns, n_neighbors, in_order=True)


def feature_space_neighbors(
    values: tf.Tensor,
    dense_rows: tf.Tensor,
    dense_columns: tf.Tensor,
    n_neighbors: int,
    is_padding: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return int32 [row, neighbor]: rows nearest in the space of `values` [row, channel].

    As published, padded constituents take part.

    Args:
        values: float32 [row, channel].
        dense_rows, dense_columns: see `PackedBatch`.
        n_neighbors: k.
        is_padding: bool [row]; rows to be taken last, after all real ones. Not in the published
            recipe.
    """
    values = tf.stop_gradient(values)
    distance = _squared_distance(_dense(values, dense_rows), _dense(values, dense_columns))
    if is_padding is not None:
        last = tf.constant(_FARTHEST, distance.dtype)
        distance = tf.where(_dense(is_padding, dense_columns)[:, None, :], last, distance)
    return _nearest(distance, dense_rows, dense_columns, n_neighbors)


def _dense(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Return values[index], [jet, slot, ...]; empty slots repeat row 0."""
    return tf.gather(values, tf.maximum(index, 0))


def _squared_distance(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return float32 [jet, slot, candidate]."""
    inner = tf.matmul(rows, columns, transpose_b=True)
    rows_squared = tf.reduce_sum(tf.square(rows), axis=-1)
    columns_squared = tf.reduce_sum(tf.square(columns), axis=-1)
    return (rows_squared[:, :, None] - 2 * inner) + columns_squared[:, None, :]


def _nearest(
    distance: tf.Tensor,
    dense_rows: tf.Tensor,
    dense_columns: tf.Tensor,
    n_neighbors: int | tf.Tensor,
    in_order: bool = False,
) -> tf.Tensor:
    """Return int32 [row, neighbor], rows of the batch; of equal distances the first is taken.

    In a network that diverges distances overflow, or are NaN. Then too only rows that there are
    are chosen, so that it is the loss which tells.
    """
    absent = (dense_columns < 0)[:, None, :]
    closeness = tf.maximum(-distance, distance.dtype.min)
    closeness = tf.where(absent, tf.constant(-np.inf, distance.dtype), closeness)
    present = tf.where(dense_rows >= 0)
    closeness = tf.gather_nd(closeness, present)
    chosen = tf.math.top_k(closeness, k=n_neighbors, sorted=in_order).indices
    rows = tf.gather(tf.gather(dense_columns, present[:, 0]), chosen, batch_dims=1)
    return tf.maximum(rows, 0)  # absent ones win over NaN
