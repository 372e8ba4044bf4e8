"""Clusters of jets by a model whose weights rest: no labels, no selection, no data set."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ucluster_tune.config.trial import DataConfig, TrialConfig
from ucluster_tune.data.format.features import MAX_CONSTITUENTS
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedBatch, PackedJets
from ucluster_tune.errors import DataError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.models.saved import SavedModel
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.neighbor_cache import FirstNeighborSearch
from ucluster_tune.training.steps import NetworkState, NetworkSteps

DEFAULT_BATCH = 128  # small enough to stay in the processor's caches
PlaceOfJet = Callable[[int], str]


def _counted(position: int) -> str:
    return f"jet {position}, counted from 0"


class Prediction(NamedTuple):
    """Clusters of some jets, in their order.

    Attributes:
        cluster: int64 [jet]; the nearest centroid.
        embedding: float32 [jet, dim].
        distances: float32 [jet, cluster]; squared, to each centroid.
        mass_gev: float32 [jet].
        jet_class: int64 [jet]; as given with the jets.
        n_constituents: int64 [jet]; real ones.
    """

    cluster: IntArray
    embedding: FloatArray
    distances: FloatArray
    mass_gev: FloatArray
    jet_class: IntArray
    n_constituents: IntArray


class Predictor:
    """A model ready to predict; traced once for batches of any size.

    Args:
        model: the network and its weights.
        batch_size: jets at a time; the result does not depend on it but for rounding.
    """

    def __init__(self, model: SavedModel, batch_size: int = DEFAULT_BATCH) -> None:
        config = TrialConfig(data=DataConfig(path="unused"), model=model.config)
        state = NetworkState(model.parameters, model.averages)
        network = build_abcnet(model.config)
        self._infer = NetworkSteps(network, state, config, OneWorker()).infer
        self._search = FirstNeighborSearch(model.config)
        self._n_neighbors = model.config.n_neighbors
        self._batch_size = batch_size
        self._nothing = Prediction(
            cluster=np.zeros(0, np.int64),
            embedding=np.zeros((0, model.config.embedding_dim), np.float32),
            distances=np.zeros((0, model.config.n_clusters), np.float32),
            mass_gev=np.zeros(0, np.float32),
            jet_class=np.zeros(0, np.int64),
            n_constituents=np.zeros(0, np.int64),
        )

    def predict(self, pieces: Iterable[PackedJets], place_of: PlaceOfJet = _counted) -> Prediction:
        """Return the clusters of all jets of `pieces`, one after the other.

        Args:
            pieces: of neighbouring jets.
            place_of: says of a jet's number among them, from 0, where it stands, for messages.

        Raises:
            DataError: the features of a jet are so far out that the network gives no number.
        """
        parts = []
        n_done = 0
        for jets in pieces:
            searched = self._search(jets)
            for start in range(0, len(jets), self._batch_size):
                chosen = np.arange(start, min(start + self._batch_size, len(jets)))
                parts.append(self._predict_batch(searched, chosen, n_done, place_of))
                n_done += len(chosen)
        if not parts:
            return self._nothing
        return Prediction(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _predict_batch(
        self, jets: PackedJets, chosen: IntArray, n_done: int, place_of: PlaceOfJet
    ) -> Prediction:
        edges_gev = np.zeros(1, np.float32)  # mass bins play no part here
        batch = jets.batch(chosen, self._n_neighbors, edges_gev)
        embedding, _, distances = self._infer(PackedBatch(*map(tf.constant, batch)))
        embedding, distances = embedding.numpy(), distances.numpy()
        bad = np.flatnonzero(~np.isfinite(distances).all(axis=1))
        if len(bad):
            jet = bad[0]
            largest = float(np.abs(batch.features[batch.jet == jet]).max())
            raise DataError(
                f"{place_of(n_done + int(jet))}: the network gives no finite number"
                f" for it; its largest feature is {largest:.3g}. Look at that jet: features are"
                " angles, logarithms and cosines, of the order of 1 to 10"
            )
        return Prediction(
            cluster=np.argmin(distances, axis=1).astype(np.int64),
            embedding=embedding,
            distances=distances,
            mass_gev=jets.mass_gev[chosen],
            jet_class=jets.jet_class[chosen],
            n_constituents=MAX_CONSTITUENTS - jets.n_padded[chosen],
        )
