"""The first neighbour search, which depends on the input alone.

Made once for all epochs for jets that stay in memory, ahead of each step for those that do not.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.format.features import N_FEATURES
from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.model.neighbors import first_neighbors

_CHUNK = 256


def with_first_neighbors(jets: PackedJets, model: ModelConfig) -> PackedJets:
    """Return `jets` with their first neighbours."""
    return FirstNeighborSearch(model)(jets)


class FirstNeighborSearch:
    """The search as a function of jets, traced once for any number of them.

    Args:
        model: whose neighbours.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._n_neighbors = model.n_neighbors

        @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow has no types
            input_signature=[
                tf.TensorSpec([None, N_FEATURES], tf.float32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
            ],
            autograph=False,
        )
        def search(
            features: tf.Tensor, dense_rows: tf.Tensor, dense_columns: tf.Tensor
        ) -> tf.Tensor:
            return first_neighbors(
                features, dense_rows, dense_columns, model.n_neighbors, model.padding_distance
            )

        self._search = search

    def __call__(self, jets: PackedJets) -> PackedJets:
        """Return `jets` with their first neighbours."""
        edges_gev = np.zeros(1, np.float32)  # mass bins play no part here
        found = []
        for start in range(0, len(jets), _CHUNK):
            chosen = np.arange(start, min(start + _CHUNK, len(jets)))
            batch = jets.batch(chosen, self._n_neighbors, edges_gev)
            rows = self._search(batch.features, batch.dense_rows, batch.dense_columns).numpy()
            offsets = jets.first_rows[chosen] - jets.first_rows[start]
            found.append((rows - offsets[batch.jet][:, None]).astype(np.int16))
        return replace(jets, first_neighbors=np.concatenate(found))
