"""ABCnet-UCluster: a jet's constituents in, its embedding and the logits of its head out.

The network of arXiv:2010.07106 with the constants of the published code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.format.features import MAX_CONSTITUENTS, N_FEATURES
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.attention import (
    attend,
    attention_entries,
    head_names,
    normalized_layers,
)
from ucluster_tune.model.dropout import Dropout
from ucluster_tune.model.losses import squared_distances
from ucluster_tune.model.normalization import (
    BatchNormalization,
    Normalization,
    StoredNormalization,
    normalized_relu,
)
from ucluster_tune.model.operations import best_operations
from ucluster_tune.model.operations.interface import Graph, Operations
from ucluster_tune.model.operations.stock import SumOverGroup, of_this_worker
from ucluster_tune.model.parameters import FloatArray, Shape, VectorLayout, layout_of

CENTROIDS = "centroids"


@dataclass(frozen=True)
class Abcnet:
    """The network of one configuration; holds shapes, no weights.

    Attributes:
        config: shape of the network.
        parameters: layout of all that is trained, the centroids included.
        averages: layout of the batch-norm averages.
        chosen_operations: that do the costly work; None for the best ones of the process.
    """

    config: ModelConfig
    parameters: VectorLayout
    averages: VectorLayout
    chosen_operations: Operations | None = None

    @property
    def operations(self) -> Operations:
        """What does the costly work."""
        return self.chosen_operations or best_operations()

    def in_training(
        self,
        parameters: Mapping[str, tf.Tensor],
        batch: PackedBatch,
        sum_over_group: SumOverGroup = of_this_worker,
        dropout_seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return embedding [jet, dim], logits [jet, of the head] and moments [averages.size].

        Args:
            parameters: all weights by name.
            batch: of this worker.
            sum_over_group: over the workers, for `config.synchronized_batch_norm`.
            dropout_seed: int32 [2], another one in each step; needed for `config.dropout`.

        Moments of the layers that act on nothing are those of their stored start: mean 0,
        variance 1.
        """
        normalization = BatchNormalization(
            parameters,
            self.config.batch_norm_epsilon,
            self.operations,
            sum_over_group if self.config.synchronized_batch_norm else of_this_worker,
        )
        dropout = Dropout(self.config.dropout, dropout_seed)
        embedding = self._embed(parameters, batch, normalization, dropout)
        logits = self._logits(parameters, embedding, normalization, dropout)
        start = self.averages.unpack(tf.constant(self.initial_averages(), embedding.dtype))
        return embedding, logits, self.averages.pack({**start, **normalization.moments})

    def in_inference(
        self,
        parameters: Mapping[str, tf.Tensor],
        averages: Mapping[str, tf.Tensor],
        batch: PackedBatch,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return embedding [jet, dim] and logits [jet, of the head], with stored averages."""
        normalization = StoredNormalization(
            parameters, averages, self.config.batch_norm_epsilon, self.operations
        )
        embedding = self._embed(parameters, batch, normalization, Dropout())
        return embedding, self._logits(parameters, embedding, normalization, Dropout())

    def distances(
        self, parameters: Mapping[str, tf.Tensor], embedding: tf.Tensor, logits: tf.Tensor
    ) -> tf.Tensor:
        """Return float32 [jet, cluster], least for the cluster that a jet is in.

        Squared distances to the centroids; of a head that tells classes, -ln of the probability of
        each class, so that a jet's cluster is its likeliest class.
        """
        if self.config.head == "classes":
            return -tf.nn.log_softmax(logits)
        return squared_distances(embedding, parameters[CENTROIDS])

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
        dropout: Dropout,
    ) -> tf.Tensor:
        def convolve(layer: str, *inputs: tf.Tensor) -> tf.Tensor:
            product = _concatenated_product(inputs, parameters[f"{layer}/weights"])
            return normalized_relu(normalization, parameters, layer, product, batch.weights)

        def attend_with_heads(
            name: str, inputs: tf.Tensor, neighbors: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            graph = Graph(neighbors, batch.starts)
            heads = [
                attend(
                    head,
                    inputs,
                    graph,
                    batch.weights,
                    parameters,
                    normalization,
                    self.operations,
                )
                for head in head_names(name, self.config.n_attention_heads)
            ]
            attended, local = zip(*heads, strict=True)
            return _joined(attended), _joined(local)

        is_padding = tf.reduce_all(tf.equal(batch.features, 0.0), axis=1)
        attention_1, local_1 = attend_with_heads(
            "first_attention", batch.features, batch.first_neighbors
        )
        hidden_1 = convolve("first_convolution_1", batch.features, attention_1)
        hidden_2 = convolve("first_convolution_2", hidden_1)

        second_neighbors = self.operations.feature_space_neighbors(
            hidden_2, batch, self.config.n_neighbors, self.config.mask_padding_in_neighbors
        )
        attention_2, local_2 = attend_with_heads("second_attention", hidden_2, second_neighbors)
        hidden_3 = convolve("second_convolution_1", batch.features, attention_2)
        hidden_4 = convolve("second_convolution_2", hidden_3)

        n_jets = tf.shape(batch.dense_rows)[0]
        layers = (hidden_1, hidden_2, hidden_3, hidden_4, local_1, local_2)
        points = convolve(
            "embedding", *(dropout.of_constituents(x, batch.jet, n_jets) for x in layers)
        )
        return self._pool(points, batch, is_padding, n_jets)

    def _pool(
        self, points: tf.Tensor, batch: PackedBatch, is_padding: tf.Tensor, n_jets: tf.Tensor
    ) -> tf.Tensor:
        """Return the mean over a jet's constituents, float32 [jet, dim]."""
        weights = batch.weights
        if self.config.mask_padding_in_pool:
            weights = tf.where(is_padding, tf.zeros_like(weights), weights)
        totals = tf.math.unsorted_segment_sum(points * weights[:, None], batch.jet, n_jets)
        if not self.config.mask_padding_in_pool:
            return totals / MAX_CONSTITUENTS
        n_real = tf.math.unsorted_segment_sum(weights, batch.jet, n_jets)
        return totals / tf.maximum(n_real, 1.0)[:, None]

    def _logits(
        self,
        parameters: Mapping[str, tf.Tensor],
        embedding: tf.Tensor,
        normalization: Normalization,
        dropout: Dropout,
    ) -> tf.Tensor:
        hidden = embedding
        jet_weights = tf.ones_like(embedding[:, 0])
        for layer in ("head_1", "head_2"):
            product = tf.matmul(hidden, parameters[f"{layer}/weights"])
            hidden = normalized_relu(normalization, parameters, layer, product, jet_weights)
            hidden = dropout.of_jets(hidden)
        return tf.matmul(hidden, parameters["logits/weights"]) + parameters["logits/biases"]


def build_abcnet(config: ModelConfig, operations: Operations | None = None) -> Abcnet:
    """Return the network that `config` describes.

    Args:
        config: of the network.
        operations: that do the costly work; None for the best ones that this process has.
    """
    width_1, width_2 = map(
        config.scaled, (config.first_attention_width, config.second_attention_width)
    )
    first_1, first_2 = map(config.scaled, config.first_widths)
    second_1, second_2 = map(config.scaled, config.second_widths)
    head_1, head_2 = map(config.scaled, config.head_widths)
    n_heads = config.n_attention_heads
    n_joined = first_1 + first_2 + second_1 + second_2 + n_heads * (width_1 + width_2)
    heads = [
        *((head, N_FEATURES, width_1) for head in head_names("first_attention", n_heads)),
        *((head, first_2, width_2) for head in head_names("second_attention", n_heads)),
    ]

    dense_layers = [
        ("first_convolution_1", N_FEATURES + n_heads * width_1, first_1),
        ("first_convolution_2", first_1, first_2),
        ("second_convolution_1", N_FEATURES + n_heads * width_2, second_1),
        ("second_convolution_2", second_1, second_2),
        ("embedding", n_joined, config.embedding_dim),
        ("head_1", config.embedding_dim, head_1),
        ("head_2", head_1, head_2),
    ]
    parameters: list[tuple[str, Shape]] = [
        entry for head in heads for entry in attention_entries(*head)
    ]
    for layer, n_inputs, width in dense_layers:
        parameters += [
            (f"{layer}/weights", (n_inputs, width)),
            *((f"{layer}/{part}", (width,)) for part in ("biases", "gamma", "beta")),
        ]
    n_logits = config.n_clusters if config.head == "classes" else config.n_mass_bins
    parameters += [
        ("logits/weights", (head_2, n_logits)),
        ("logits/biases", (n_logits,)),
        (CENTROIDS, (config.n_clusters, config.embedding_dim)),
    ]

    normalized = [
        *(layer for head, _, width in heads for layer in normalized_layers(head, width)),
        *((layer, width) for layer, _, width in dense_layers),
    ]
    averages: list[tuple[str, Shape]] = [
        (f"{layer}/{moment}", (width,))
        for layer, width in normalized
        for moment in ("mean", "variance")
    ]
    return Abcnet(config, layout_of(parameters), layout_of(averages), operations)


def _initial_value(name: str, shape: Shape, generator: np.random.Generator) -> FloatArray:
    if name.endswith("/weights"):
        limit = np.sqrt(6.0 / sum(shape))
        return generator.uniform(-limit, limit, shape).astype(np.float32)
    return np.full(shape, 1.0 if name.endswith("/gamma") else 0.0, np.float32)


def _joined(pieces: Sequence[tf.Tensor]) -> tf.Tensor:
    return pieces[0] if len(pieces) == 1 else tf.concat(pieces, axis=1)


def _concatenated_product(inputs: tuple[tf.Tensor, ...], weights: tf.Tensor) -> tf.Tensor:
    """Return concat(inputs) x weights as a sum of products: nothing is copied together."""
    pieces = tf.split(weights, [values.shape[1] for values in inputs])
    return tf.add_n(
        [tf.matmul(values, piece) for values, piece in zip(inputs, pieces, strict=True)]
    )
