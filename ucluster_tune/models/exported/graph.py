"""A trained network with its preprocessing as one TensorFlow graph of stock operations."""

from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf

from ucluster_tune.data.format.features import MAX_CONSTITUENTS, N_FEATURES
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.model.inference import inference_of
from ucluster_tune.model.momenta import batch_of_features, features_of_momenta
from ucluster_tune.model.operations.stock import StockOperations
from ucluster_tune.models.saved import SavedModel

_CONSTITUENTS: Final = tf.TensorSpec([None, None, 4], tf.float32, "constituents")
_JET: Final = tf.TensorSpec([None, 4], tf.float32, "jet")
_FEATURES: Final = tf.TensorSpec([None, MAX_CONSTITUENTS, N_FEATURES], tf.float32, "features")


class ExportedNetwork(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """The clusters of jets as a function of their constituents' momenta.

    Each function returns `embedding` float32 [jet, dim], `distances` float32 [jet, cluster]
    (squared, to the centroids), `cluster` int64 [jet] (the nearest one), and, where it is known,
    `jet_class` string [jet]: the class that the cluster is matched with, empty for none.

    Args:
        model: the network and its weights.
        class_of_cluster: names, an empty one for a cluster without a class; None where no
            labels told them.
    """

    def __init__(self, model: SavedModel, class_of_cluster: Sequence[str] | None) -> None:
        super().__init__(name="ucluster")
        self.parameters = tf.Variable(model.parameters, trainable=False, name="parameters")
        self.averages = tf.Variable(model.averages, trainable=False, name="averages")
        network = build_abcnet(model.config, StockOperations())
        infer = inference_of(network, self.parameters, self.averages)

        def clusters(features: tf.Tensor) -> dict[str, tf.Tensor]:
            embedding, distances = infer(batch_of_features(features, model.config))
            cluster = tf.argmin(distances, axis=1)
            found = {"embedding": embedding, "distances": distances, "cluster": cluster}
            if class_of_cluster is not None:
                found["jet_class"] = tf.gather(tf.constant(list(class_of_cluster)), cluster)
            return found

        def function(work: Any, *specs: tf.TensorSpec) -> Any:
            return tf.function(work, input_signature=specs, autograph=False)

        self.of_constituents = function(
            lambda constituents: clusters(features_of_momenta(constituents)), _CONSTITUENTS
        )
        self.with_jet = function(
            lambda constituents, jet: clusters(features_of_momenta(constituents, jet)),
            _CONSTITUENTS,
            _JET,
        )
        self.of_features = function(clusters, _FEATURES)
