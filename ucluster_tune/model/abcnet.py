"""ABCnet-UCluster: a jet's constituents in, its embedding and the logits of its mass bin out.

The network of arXiv:2010.07106 with the constants of the published code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.features import MAX_CONSTITUENTS, N_FEATURES
from ucluster_tune.data.packed import PackedBatch
from ucluster_tune.model.attention import attend, attention_entries, normalized_layers
from ucluster_tune.model.neighbors import feature_space_neighbors
from ucluster_tune.model.normalization import (
    BatchNormalization,
    Normalization,
    StoredNormalization,
    SumOverGroup,
    normalized_relu,
    of_this_worker,
)
from ucluster_tune.model.parameters import FloatArray, Shape, VectorLayout, layout_of

CENTROIDS = "centroids"


@dataclass(frozen=True)
class Abcnet:
    """The network of one configuration; holds shapes, no weights.

    Attributes:
        config: shape of the network.
        parameters: layout of all that is trained, the centroids included.
        averages: layout of the batch-norm averages.
    """

    config: ModelConfig
    parameters: VectorLayout
    averages: VectorLayout

    def in_training(
        self,
        parameters: Mapping[str, tf.Tensor],
        batch: PackedBatch,
        sum_over_group: SumOverGroup = of_this_worker,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return embedding [jet, dim], logits [jet, mass bin] and batch moments [averages.size].

        Args:
            parameters: all weights by name.
            batch: of this worker.
            sum_over_group: over the workers, for `config.synchronized_batch_norm`.

        Moments of the layers that act on nothing are those of their stored start: mean 0,
        variance 1.
        """
        normalization = BatchNormalization(
            parameters,
            self.config.batch_norm_epsilon,
            sum_over_group if self.config.synchronized_batch_norm else of_this_worker,
        )
        embedding = self._embed(parameters, batch, normalization)
        logits = self._mass_bin_logits(parameters, embedding, normalization)
        start = self.averages.unpack(tf.constant(self.initial_averages(), embedding.dtype))
        return embedding, logits, self.averages.pack({**start, **normalization.moments})

    def in_inference(
        self,
        parameters: Mapping[str, tf.Tensor],
        averages: Mapping[str, tf.Tensor],
        batch: PackedBatch,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return embedding [jet, dim] and logits [jet, mass bin], with stored averages."""
        normalization = StoredNormalization(parameters, averages, self.config.batch_norm_epsilon)
        embedding = self._embed(parameters, batch, normalization)
        return embedding, self._mass_bin_logits(parameters, embedding, normalization)

    def initial_parameters(self, seed: int) -> FloatArray:
        """Return float32 [parameters.size]: Glorot-uniform weights, gamma 1, all others 0."""
        generator = np.random.default_rng(seed)
        return self.parameters.to_vector(
            {
                name: _initial_value(name, shape, generator)
                for name, shape in self.parameters.entries
            }
        )

    def initial_averages(self) -> FloatArray:
        """Return float32 [averages.size]: means 0 and variances 1."""
        return self.averages.to_vector(
            {
                name: np.full(shape, 1.0 if name.endswith("/variance") else 0.0)
                for name, shape in self.averages.entries
            }
        )

    def _embed(
        self,
        parameters: Mapping[str, tf.Tensor],
        batch: PackedBatch,
        normalization: Normalization,
    ) -> tf.Tensor:
        def convolve(layer: str, *inputs: tf.Tensor) -> tf.Tensor:
            product = _concatenated_product(inputs, parameters[f"{layer}/weights"])
            return normalized_relu(normalization, parameters, layer, product, batch.weights)

        attention_1, local_1 = attend(
            "first_attention",
            batch.features,
            batch.first_neighbors,
            batch.weights,
            parameters,
            normalization,
        )
        hidden_1 = convolve("first_convolution_1", batch.features, attention_1)
        hidden_2 = convolve("first_convolution_2", hidden_1)

        attention_2, local_2 = attend(
            "second_attention",
            hidden_2,
            feature_space_neighbors(
                hidden_2, batch.dense_rows, batch.dense_columns, self.config.n_neighbors
            ),
            batch.weights,
            parameters,
            normalization,
        )
        hidden_3 = convolve("second_convolution_1", batch.features, attention_2)
        hidden_4 = convolve("second_convolution_2", hidden_3)

        points = convolve("embedding", hidden_1, hidden_2, hidden_3, hidden_4, local_1, local_2)
        n_jets = tf.shape(batch.mass_bin)[0]
        totals = tf.math.unsorted_segment_sum(points * batch.weights[:, None], batch.jet, n_jets)
        return totals / MAX_CONSTITUENTS

    def _mass_bin_logits(
        self,
        parameters: Mapping[str, tf.Tensor],
        embedding: tf.Tensor,
        normalization: Normalization,
    ) -> tf.Tensor:
        hidden = embedding
        jet_weights = tf.ones_like(embedding[:, 0])
        for layer in ("head_1", "head_2"):
            product = tf.matmul(hidden, parameters[f"{layer}/weights"])
            hidden = normalized_relu(normalization, parameters, layer, product, jet_weights)
        return tf.matmul(hidden, parameters["logits/weights"]) + parameters["logits/biases"]


def build_abcnet(config: ModelConfig) -> Abcnet:
    """Return the network that `config` describes."""
    width_1, width_2 = config.first_attention_width, config.second_attention_width
    first_1, first_2 = config.first_widths
    second_1, second_2 = config.second_widths
    head_1, head_2 = config.head_widths
    n_joined = first_1 + first_2 + second_1 + second_2 + width_1 + width_2

    dense_layers = [
        ("first_convolution_1", N_FEATURES + width_1, first_1),
        ("first_convolution_2", first_1, first_2),
        ("second_convolution_1", N_FEATURES + width_2, second_1),
        ("second_convolution_2", second_1, second_2),
        ("embedding", n_joined, config.embedding_dim),
        ("head_1", config.embedding_dim, head_1),
        ("head_2", head_1, head_2),
    ]
    parameters: list[tuple[str, Shape]] = [
        *attention_entries("first_attention", N_FEATURES, width_1),
        *attention_entries("second_attention", first_2, width_2),
    ]
    for layer, n_inputs, width in dense_layers:
        parameters += [
            (f"{layer}/weights", (n_inputs, width)),
            *((f"{layer}/{part}", (width,)) for part in ("biases", "gamma", "beta")),
        ]
    parameters += [
        ("logits/weights", (head_2, config.n_mass_bins)),
        ("logits/biases", (config.n_mass_bins,)),
        (CENTROIDS, (config.n_clusters, config.embedding_dim)),
    ]

    normalized = [
        *normalized_layers("first_attention", width_1),
        *normalized_layers("second_attention", width_2),
        *((layer, width) for layer, _, width in dense_layers),
    ]
    averages: list[tuple[str, Shape]] = [
        (f"{layer}/{moment}", (width,))
        for layer, width in normalized
        for moment in ("mean", "variance")
    ]
    return Abcnet(config, layout_of(parameters), layout_of(averages))


def _initial_value(name: str, shape: Shape, generator: np.random.Generator) -> FloatArray:
    if name.endswith("/weights"):
        limit = np.sqrt(6.0 / sum(shape))
        return generator.uniform(-limit, limit, shape).astype(np.float32)
    return np.full(shape, 1.0 if name.endswith("/gamma") else 0.0, np.float32)


def _concatenated_product(inputs: tuple[tf.Tensor, ...], weights: tf.Tensor) -> tf.Tensor:
    """Return concat(inputs) x weights as a sum of products: nothing is copied together."""
    pieces = tf.split(weights, [values.shape[1] for values in inputs])
    return tf.add_n(
        [tf.matmul(values, piece) for values, piece in zip(inputs, pieces, strict=True)]
    )
