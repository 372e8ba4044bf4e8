"""The same steps of training made by our code and by the plain formulation, to be compared."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tests.model import published_graph as plain
from tests.small_datasets import pack_padded
from ucluster_tune.config.trial import DataConfig, TrialConfig
from ucluster_tune.data.format.packed import PackedBatch, PackedJets
from ucluster_tune.model.abcnet import Abcnet, build_abcnet
from ucluster_tune.model.losses import mass_bins
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.model.optimizer import adam_step_size
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.steps import NetworkState, StepScalars, TrainingStep

CONFIG = TrialConfig(data=DataConfig(path="unused"))
EDGES_GEV = np.linspace(0.0, 200.0, 20, dtype=np.float32)
LEARNING_RATE, CLUSTERING_WEIGHT, AVERAGES_MOVE_BY = 1e-3, 10.0, 0.5
Array = Any


class Batch(NamedTuple):
    """What a step sees: float32 [jet, 100, 8], int32 [jet], inverse temperature."""

    constituents: Array
    mass_bin: Array
    alpha: float


class Trajectory(NamedTuple):
    """Losses of each step before its update, the state after the last, and a probe of it."""

    focal: Array
    kmeans: Array
    parameters: Array
    first_moment: Array
    second_moment: Array
    averages: Array
    probe_embedding: Array
    probe_logits: Array


def packed(constituents: Array, mass_bin: Array) -> PackedJets:
    """Jets with their first neighbours, and masses in the middle of their bins."""
    mass_gev = np.append(EDGES_GEV[:-1] + 5.0, 250.0)[mass_bin]
    jets = pack_padded(constituents, mass_gev, np.zeros(len(constituents), np.int64))
    return FirstNeighborSearch(CONFIG.model)(jets)


def tensors(jets: PackedJets, dtype: tf.DType = tf.float32) -> PackedBatch:
    batch = jets.batch(np.arange(len(jets)), CONFIG.model.n_neighbors)
    return PackedBatch(
        *(tf.constant(a, dtype if a.dtype == np.float32 else tf.int32) for a in batch)
    )


def follow_ours(
    start: tuple[Array, Array], batches: Sequence[Batch], probe: Array, dtype: tf.DType
) -> Trajectory:
    """Train with the package's own code."""
    state = NetworkState(*(vector.astype(dtype.as_numpy_dtype) for vector in start))
    network = build_abcnet(CONFIG.model)
    step = TrainingStep(network, state, CONFIG, OneWorker())
    losses = []
    for index, batch in enumerate(batches):
        step_size = adam_step_size(CONFIG.training, LEARNING_RATE, index + 1)
        scalars = (CLUSTERING_WEIGHT, batch.alpha, step_size, AVERAGES_MOVE_BY)
        jets = packed(batch.constituents, batch.mass_bin)
        result = step.run(
            tensors(jets, dtype),
            tf.constant(mass_bins(jets.mass_gev, CONFIG.model)),
            StepScalars(*(tf.constant(scalar, dtype) for scalar in scalars)),
        )
        losses.append((result.focal_loss.numpy(), result.clustering_loss.numpy()))
    embedding, logits = network.in_inference(
        network.parameters.unpack(tf.convert_to_tensor(state.parameters)),
        network.averages.unpack(tf.convert_to_tensor(state.averages)),
        tensors(packed(probe, np.zeros(len(probe), np.int64)), dtype),
    )
    focal, kmeans = np.transpose(losses)
    return Trajectory(
        focal=focal,
        kmeans=kmeans,
        parameters=state.parameters.numpy(),
        first_moment=state.adam.first_moment.numpy(),
        second_moment=state.adam.second_moment.numpy(),
        averages=state.averages.numpy(),
        probe_embedding=embedding,
        probe_logits=logits,
    )


def follow_plain(
    start: tuple[Array, Array], batches: Sequence[Batch], probe: Array, dtype: tf.DType
) -> Trajectory:
    """Train the plain formulation with Adam written out."""
    network = build_abcnet(CONFIG.model)
    step = plain_step(network, dtype)
    parameters, averages = (tf.constant(vector, dtype) for vector in start)
    first = second = tf.zeros_like(parameters)
    losses = []
    for index, batch in enumerate(batches):
        neighbors = plain.nearest_in_angle(tf.constant(batch.constituents))
        focal, kmeans, gradient, moments = step(
            parameters,
            averages,
            tf.constant(batch.constituents, dtype),
            neighbors,
            tf.constant(batch.mass_bin),
            tf.constant(batch.alpha, dtype),
        )
        losses.append((focal.numpy(), kmeans.numpy()))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = LEARNING_RATE * np.sqrt(1 - 0.999 ** (index + 1)) / (1 - 0.9 ** (index + 1))
        parameters -= tf.cast(rate, dtype) * first / (tf.sqrt(second) + tf.cast(1e-8, dtype))
        averages += AVERAGES_MOVE_BY * (moments - averages)
    weights, stored = network.parameters.unpack(parameters), network.averages.unpack(averages)
    embedding, logits = plain.PlainNetwork(weights, stored)(
        tf.constant(probe, dtype), plain.nearest_in_angle(tf.constant(probe))
    )
    of_focal, of_kmeans = np.transpose(losses)
    return Trajectory(
        focal=of_focal,
        kmeans=of_kmeans,
        parameters=parameters.numpy(),
        first_moment=first.numpy(),
        second_moment=second.numpy(),
        averages=averages.numpy(),
        probe_embedding=embedding,
        probe_logits=logits,
    )


def plain_step(network: Abcnet, dtype: tf.DType) -> Any:
    """Losses, gradient and moments of the plain formulation."""
    shapes = [[None], [None], [None, 100, 8], [None, 100, 10], [None], []]
    types = [dtype, dtype, dtype, tf.int32, tf.int32, dtype]

    @tf.function(
        input_signature=[tf.TensorSpec(*pair) for pair in zip(shapes, types, strict=True)],
        autograph=False,
    )
    def step(
        parameters: Array,
        averages: Array,
        jets: Array,
        first: Array,
        mass_bin: Array,
        alpha: Array,
    ) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            weights = network.parameters.unpack(parameters)
            plain_network = plain.PlainNetwork(weights)
            embedding, logits = plain_network(jets, first)
            focal = plain.focal(logits, mass_bin)
            kmeans = plain.kmeans(embedding, weights["centroids"], alpha)
            total = focal + CLUSTERING_WEIGHT * kmeans
        moments = {**network.averages.unpack(averages), **plain_network.moments}
        gradient = tape.gradient(total, parameters)
        return focal, kmeans, gradient, network.averages.pack(moments)

    return step
