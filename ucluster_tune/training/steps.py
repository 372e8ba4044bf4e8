"""One step of training, traced once for batches of any size."""

from typing import NamedTuple

import tensorflow as tf

from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.abcnet import CENTROIDS, Abcnet
from ucluster_tune.model.inference import batch_spec
from ucluster_tune.model.losses import (
    centroid_separation_loss,
    clustering_loss_sum,
    focal_loss_sum,
)
from ucluster_tune.model.optimizer import AdamState, adam_update
from ucluster_tune.model.parameters import FloatArray
from ucluster_tune.training.group import Group


class StepScalars(NamedTuple):
    """What changes from step to step or from phase to phase.

    Attributes:
        clustering_weight: beta in the clustering phase, 0 in pretraining.
        inverse_temperature: alpha.
        step_size: of Adam, with its bias corrections.
        batch_norm_momentum: by what share the averages move.
    """

    clustering_weight: tf.Tensor
    inverse_temperature: tf.Tensor
    step_size: tf.Tensor
    batch_norm_momentum: tf.Tensor


class StepResult(NamedTuple):
    """What a step saw before its update.

    Attributes:
        focal_loss: mean over the jets of all workers; see `TrialConfig.acting_loss`.
        clustering_loss: likewise.
        embedding: float32 [jet, dim] of this worker's jets, with the batch's moments.
        cluster_jets: float32 [cluster]; jets of all workers in each cluster.
        embedding_mean: float32 [dim]; over the jets of all workers.
        embedding_square: float32 [dim]; mean of the squares.
        separation_loss: of the centroids; 0 where it has no weight.
    """

    focal_loss: tf.Tensor
    clustering_loss: tf.Tensor
    embedding: tf.Tensor
    cluster_jets: tf.Tensor
    embedding_mean: tf.Tensor
    embedding_square: tf.Tensor
    separation_loss: tf.Tensor


class NetworkState:
    """All numbers that training changes, each kind in one flat variable.

    In double precision where the arrays given are; tests use that to tell rounding from faults.

    Args:
        parameters: float32 [parameters.size].
        averages: float32 [averages.size]; batch-norm averages.
    """

    def __init__(self, parameters: FloatArray, averages: FloatArray) -> None:
        self.parameters = tf.Variable(parameters, name="parameters")
        self.averages = tf.Variable(averages, trainable=False, name="averages")
        self.dropout_seed = tf.Variable([0, 0], trainable=False, name="dropout_seed")
        self.adam = AdamState(
            tf.Variable(tf.zeros_like(parameters), trainable=False, name="first_moment"),
            tf.Variable(tf.zeros_like(parameters), trainable=False, name="second_moment"),
        )


class TrainingStep:
    """The training step of one network, its state and its group: `run(batch, target, scalars)`.

    Args:
        network: shapes.
        state: weights, updated in place.
        config: losses and optimizer.
        group: the workers.
    """

    def __init__(
        self, network: Abcnet, state: NetworkState, config: TrialConfig, group: Group
    ) -> None:
        self._network, self._state, self._config, self._group = network, state, config, group
        dtype = state.parameters.dtype
        batch = batch_spec(config.model.n_neighbors, dtype)
        target = tf.TensorSpec([None], tf.int32)  # of the head
        scalar = tf.TensorSpec([], dtype)
        scalars = StepScalars(scalar, scalar, scalar, scalar)
        self.run = tf.function(
            self._run, input_signature=[batch, target, scalars], autograph=False
        )

    def _run(self, batch: PackedBatch, target: tf.Tensor, scalars: StepScalars) -> StepResult:
        network, state, loss = self._network, self._state, self._config.acting_loss
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.parameters)
            parameters = network.parameters.unpack(state.parameters)
            embedding, logits, moments = network.in_training(
                parameters, batch, self._group.sum_tensor, state.dropout_seed
            )
            focal = focal_loss_sum(logits, target, loss)
            clustering = clustering_loss_sum(
                embedding, parameters[CENTROIDS], scalars.inverse_temperature
            )
            total = loss.focal_weight * focal + scalars.clustering_weight * clustering
            separation = tf.zeros([], embedding.dtype)
            if loss.centroid_separation_weight > 0:
                separation = centroid_separation_loss(
                    parameters[CENTROIDS], loss.centroid_separation_length
                )
                # Of each jet, as the other losses are; alpha is 0 before there are centroids.
                in_clustering = tf.cast(scalars.inverse_temperature > 0, embedding.dtype)
                n_own = tf.cast(tf.shape(embedding)[0], embedding.dtype)
                total += loss.centroid_separation_weight * in_clustering * n_own * separation
        gradient = tape.gradient(total, state.parameters)

        # One message a step: sums over this worker's jets, and how many they are.
        n_jets = tf.cast(tf.shape(embedding)[0], embedding.dtype)
        parts = [
            gradient,
            moments * n_jets,
            _jets_by_cluster(network.distances(parameters, embedding, logits)),
            tf.reduce_sum(embedding, axis=0),
            tf.reduce_sum(tf.square(embedding), axis=0),
            [focal, clustering, n_jets],
        ]
        message = self._group.sum_tensor(tf.concat(parts, axis=0), name="step")
        model = self._config.model
        gradient, moments, shares, mean, square, losses = tf.split(
            message / message[-1],
            [
                network.parameters.size,
                network.averages.size,
                model.n_clusters,
                model.embedding_dim,
                model.embedding_dim,
                3,
            ],
        )
        adam_update(
            state.parameters, state.adam, gradient, scalars.step_size, self._config.training
        )
        state.averages.assign_add(scalars.batch_norm_momentum * (moments - state.averages))
        cluster_jets = tf.round(shares * message[-1])
        return StepResult(
            focal_loss=losses[0],
            clustering_loss=losses[1],
            embedding=embedding,
            cluster_jets=cluster_jets,
            embedding_mean=mean,
            embedding_square=square,
            separation_loss=separation,
        )


def _jets_by_cluster(distances: tf.Tensor) -> tf.Tensor:
    """Return [cluster]: how many jets are in each."""
    nearest = tf.argmin(distances, axis=1)
    return tf.reduce_sum(tf.one_hot(nearest, distances.shape[1], dtype=distances.dtype), axis=0)
