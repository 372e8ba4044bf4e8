"""Training of one network by one worker, alone or one of a group: pretraining, then clustering."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.data.feeding.feed import JetBatch, JetFeed
from ucluster_tune.data.feeding.kept_jets import KeptJets
from ucluster_tune.data.format.packed import IntArray, PackedBatch, PackedJets
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.data.reading.sharding import steps_per_epoch
from ucluster_tune.errors import CheckpointError, ConfigurationError, NonFiniteLossError
from ucluster_tune.model.abcnet import CENTROIDS, build_abcnet
from ucluster_tune.model.inference import INFERENCE_BATCH, inference_of
from ucluster_tune.model.losses import mass_bins
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.model.optimizer import (
    adam_step_size,
    batch_norm_momentum_after,
    inverse_temperature_in,
    learning_rate_after,
)
from ucluster_tune.training.checkpoint import Checkpoint
from ucluster_tune.training.evaluation import MAX_KEPT_JETS, Evaluation, evaluate
from ucluster_tune.training.group import Group
from ucluster_tune.training.health import epoch_warnings
from ucluster_tune.training.kmeans import kmeans_centroids
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.training.steps import NetworkState, StepResult, StepScalars, TrainingStep
from ucluster_tune.training.watch import EpochWatch

OnStep = Callable[[int, int], None]


class Trainer:
    """Trains epoch by epoch; every rank makes the same calls.

    Args:
        config: of the trial.
        dataset: opened.
        group: the workers.
        kept: where jets in memory are kept for others to come.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: JetDataset,
        group: Group,
        kept: KeptJets | None = None,
    ) -> None:
        self.config = config
        self.epoch = 0
        self.last_evaluation: Evaluation | None = None
        dataset = dataset.training_on(config.training.n_jets)
        _refuse_other_classes(config, dataset)
        self._dataset, self._group = dataset, group
        self._network = build_abcnet(config.model)
        self._state = NetworkState(
            self._network.initial_parameters(config.training.seed),
            self._network.initial_averages(),
        )
        self._training_step = TrainingStep(self._network, self._state, config, group)
        self._infer = inference_of(self._network, self._state.parameters, self._state.averages)
        self._n_steps = self._n_jets = self._n_dead_steps = 0
        self._steps_per_epoch = steps_per_epoch(
            dataset.n_jets_by_rank("train", group.world_size), config.training.global_batch_size
        )
        self._search = FirstNeighborSearch(config.model)
        self._kept = kept or KeptJets()
        self._training_jets, self._validation_jets = self._feed("train"), self._feed("validation")

    @property
    def is_done(self) -> bool:
        """Whether all epochs were run."""
        return self.epoch >= self.config.training.n_epochs

    def run_epoch(self, on_step: OnStep | None = None) -> EpochRecord:
        """Train one epoch, then measure the clusters on the validation jets.

        Args:
            on_step: called with the steps done and the steps of the epoch.

        Raises:
            NonFiniteLossError: a loss is not finite, or what the last step left is not.
            CollapsedEmbeddingError: the embedding is zero for every jet and stays so.
        """
        epoch, training, loss = self.epoch + 1, self.config.training, self.config.acting_loss
        in_pretraining = epoch <= training.n_pretraining_epochs
        inverse_temperature = inverse_temperature_in(
            epoch,
            training.n_pretraining_epochs,
            loss.inverse_temperature_start,
            loss.inverse_temperature_step,
        )
        clustering_weight = 0.0 if in_pretraining else loss.clustering_weight

        embeddings = []
        watch = EpochWatch(epoch, self._n_dead_steps)
        feed, n_steps = self._training_jets, self._steps_per_epoch
        with feed.shuffled(n_steps, training.seed, epoch) as batches:
            started = time.perf_counter()
            for step, jets in enumerate(batches, start=1):
                learning_rate = self._learning_rate()
                result = self._step(jets, learning_rate, clustering_weight, inverse_temperature)
                watch.take(learning_rate, result)
                if in_pretraining:  # a slice is a copy, so the rest is let go
                    n_kept = feed.n_kept(result.embedding.shape[0])
                    embeddings.append(result.embedding[:n_kept])
                if on_step is not None:
                    on_step(step, n_steps)
            watch.read()
        training_seconds = time.perf_counter() - started
        self._n_dead_steps = watch.n_dead_steps

        if in_pretraining:
            self._set_centroids(np.concatenate([part.numpy() for part in embeddings]), epoch)
        self.epoch = epoch
        self.last_evaluation = self._evaluate(self._validation_jets)
        focal, clustering, separation = np.mean(watch.losses, axis=0)
        clustering, separation = (0.0, 0.0) if in_pretraining else (clustering, separation)
        return EpochRecord(
            epoch=epoch,
            phase="pretraining" if in_pretraining else "clustering",
            focal_loss=float(focal),
            clustering_loss=float(clustering),
            total_loss=float(
                loss.focal_weight * focal
                + clustering_weight * clustering
                + loss.centroid_separation_weight * separation
            ),
            learning_rate=self._learning_rate(),
            inverse_temperature=inverse_temperature,
            jets_per_second=self._dataset.n_jets("train") / training_seconds,
            seconds=time.perf_counter() - started,
            **vars(self.last_evaluation.quality),
            **self._label_free_criteria(),
            confusion=self.last_evaluation.confusion.tolist(),
            class_names=list(self._dataset.class_names),
            warnings=epoch_warnings(watch.health, epoch, in_pretraining),
        )

    def evaluate_split(self, split: str, most_kept: int = MAX_KEPT_JETS) -> Evaluation:
        """Return this rank's clusters of a split, and their quality over all ranks."""
        return self._evaluate(self._feed(split), most_kept)

    def checkpoint(self) -> Checkpoint:
        """Return all that training needs to go on from here."""
        return Checkpoint(
            epoch=self.epoch,
            n_steps=self._n_steps,
            n_jets=self._n_jets,
            seed=self.config.training.seed,
            config=self.config.model_dump(mode="json"),
            dataset_checksum=self._dataset.manifest.dataset_checksum,
            parameters=self._state.parameters.numpy(),
            averages=self._state.averages.numpy(),
            first_moment=self._state.adam.first_moment.numpy(),
            second_moment=self._state.adam.second_moment.numpy(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`.

        Raises:
            CheckpointError: it is of another network or of another data set.
        """
        sizes = (len(checkpoint.parameters), len(checkpoint.averages))
        if sizes != (self._network.parameters.size, self._network.averages.size):
            raise CheckpointError(
                f"the checkpoint holds {sizes[0]} weights, the network has"
                f" {self._network.parameters.size}: it was made with another model configuration"
            )
        if checkpoint.dataset_checksum != self._dataset.manifest.dataset_checksum:
            raise CheckpointError(
                f"the checkpoint was trained on other jets than those of"
                f" {self.config.data.path}: point data.path to the data set of checksum"
                f" {checkpoint.dataset_checksum[:12]}"
            )
        self._state.parameters.assign(checkpoint.parameters)
        self._state.averages.assign(checkpoint.averages)
        self._state.adam.first_moment.assign(checkpoint.first_moment)
        self._state.adam.second_moment.assign(checkpoint.second_moment)
        self.epoch = checkpoint.epoch
        self._n_steps, self._n_jets = checkpoint.n_steps, checkpoint.n_jets

    def _step(
        self,
        jets: JetBatch[PackedBatch],
        learning_rate: float,
        clustering_weight: float,
        inverse_temperature: float,
    ) -> StepResult:
        training = self.config.training
        if self.config.model.dropout > 0:
            draw = self._n_steps * self._group.world_size + self._group.rank
            self._state.dropout_seed.assign([training.seed, draw % 2**31])
        result: StepResult = self._training_step.run(
            jets.batch,
            tf.constant(self._targets(jets)),
            StepScalars(
                clustering_weight=tf.constant(clustering_weight),
                inverse_temperature=tf.constant(inverse_temperature),
                step_size=tf.constant(adam_step_size(training, learning_rate, self._n_steps + 1)),
                batch_norm_momentum=tf.constant(batch_norm_momentum_after(self._n_jets, training)),
            ),
        )
        self._n_steps += 1
        self._n_jets += training.global_batch_size
        return result

    @property
    def _is_supervised(self) -> bool:
        return self.config.model.head == "classes"

    def _label_free_criteria(self) -> dict[str, float]:
        """Return silhouette and stability; none of a head that tells classes, not clusters."""
        if self._is_supervised or self.last_evaluation is None:
            return {}
        return {
            "silhouette": self.last_evaluation.silhouette,
            "stability": self.last_evaluation.stability,
        }

    def _targets(self, jets: JetBatch[PackedBatch]) -> npt.NDArray[np.int32]:
        """Return what the head is to tell: int32 [jet]."""
        if self._is_supervised:
            return jets.jet_class.astype(np.int32)
        return mass_bins(jets.mass_gev, self.config.model)

    def _learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        training = self.config.training
        n_steps = training.n_epochs * self._steps_per_epoch
        return learning_rate_after(self._n_jets, training, n_steps * training.global_batch_size)

    def _set_centroids(self, embedding: npt.NDArray[np.float32], epoch: int) -> None:
        """Set the centroids by k-means, as published after the last pretraining epoch.

        In the epochs before they only serve the measure of the clusters, so one start is enough.
        """
        training = self.config.training
        is_last = epoch == training.n_pretraining_epochs
        centroids = kmeans_centroids(
            embedding,
            self.config.model.n_clusters,
            training.kmeans_n_init if is_last else 1,
            training.seed + epoch,
            self._group,
        )
        layout = self._network.parameters
        arrays = layout.to_arrays(self._state.parameters.numpy())
        self._state.parameters.assign(layout.to_vector({**arrays, CENTROIDS: centroids}))

    def _centroids(self) -> npt.NDArray[np.float32]:
        layout = self._network.parameters
        return layout.to_arrays(self._state.parameters.numpy())[CENTROIDS]

    def _batch(self, jets: PackedJets, chosen: IntArray) -> PackedBatch:
        return PackedBatch(*map(tf.constant, jets.batch(chosen, self.config.model.n_neighbors)))

    def _feed(self, split: str) -> JetFeed[PackedBatch]:
        return JetFeed(
            self._dataset,
            split,
            self._group.rank,
            self._group.world_size,
            max_jets=self.config.data.shuffle_buffer_jets,
            search=self._search,
            kept=self._kept,
            make_batch=self._batch,
        )

    def _evaluate(self, feed: JetFeed[PackedBatch], most_kept: int = MAX_KEPT_JETS) -> Evaluation:
        with feed.in_order(INFERENCE_BATCH) as batches:
            evaluation = evaluate(
                batches,
                self._infer,
                self._centroids(),
                self._dataset.class_names,
                self.config.training.evaluation_batch_size,
                self._group,
                most_kept,
            )
        if evaluation.n_not_finite:  # the last step's update may be what made it so
            raise NonFiniteLossError(
                f"the embedding of {evaluation.n_not_finite} jets is not finite after epoch"
                f" {self.epoch}, step {self._steps_per_epoch}, at learning rate"
                f" {self._learning_rate():g}: try a lower learning rate"
            )
        return evaluation


def _refuse_other_classes(config: TrialConfig, dataset: JetDataset) -> None:
    """Raise ConfigurationError where a head that tells classes has another number of them."""
    n_clusters, names = config.model.n_clusters, dataset.class_names
    if config.model.head == "classes" and n_clusters != len(names):
        raise ConfigurationError(
            str(config.data.path),
            [
                f"model.n_clusters: must be {len(names)} where model.head is classes, one for each"
                f" of {', '.join(names)}, got {n_clusters}"
            ],
        )
