"""What the steps of an epoch tell, read from the device some steps at a time.

A step whose numbers are read at once makes a GPU wait for the Python that starts the next one. So
they stay where they are until READ_EVERY steps are done, and a fault is told that much later.
"""

from typing import Final

import numpy as np

from ucluster_tune.errors import CollapsedEmbeddingError, NonFiniteLossError
from ucluster_tune.training.health import MAX_DEAD_STEPS, StepHealth
from ucluster_tune.training.steps import StepResult

READ_EVERY: Final = 16


class EpochWatch:
    """Takes the results of the steps of one epoch.

    Args:
        epoch: its number.
        n_dead_steps: steps in a row before it whose embedding was zero for every jet.

    Attributes:
        losses: of each step that was read: focal, clustering, separation.
        health: of each such step.
        n_dead_steps: up to the last step that was read.
    """

    def __init__(self, epoch: int, n_dead_steps: int) -> None:
        self.losses: list[tuple[float, float, float]] = []
        self.health: list[StepHealth] = []
        self.n_dead_steps = n_dead_steps
        self._epoch = epoch
        self._unread: list[tuple[float, StepResult]] = []

    def take(self, learning_rate: float, result: StepResult) -> None:
        """Take the next step; those not read yet are read once there are enough of them.

        Raises:
            NonFiniteLossError: a loss is not finite.
            CollapsedEmbeddingError: the embedding is zero for every jet and stays so.
        """
        self._unread.append((learning_rate, result))
        if len(self._unread) >= READ_EVERY:
            self.read()

    def read(self) -> None:
        """Read all steps that are left; raises as `take` does."""
        unread, self._unread = self._unread, []
        for learning_rate, result in unread:
            self._read(learning_rate, result)

    def _read(self, learning_rate: float, result: StepResult) -> None:
        step = len(self.losses) + 1
        focal, clustering = float(result.focal_loss), float(result.clustering_loss)
        if not np.isfinite([focal, clustering]).all():
            raise NonFiniteLossError(
                f"loss is not finite (focal {focal}, clustering {clustering}) in epoch"
                f" {self._epoch}, step {step}, at learning rate {learning_rate:g}: try a lower"
                " learning rate"
            )
        mean = result.embedding_mean.numpy()
        health = StepHealth(
            step=step,
            learning_rate=learning_rate,
            cluster_jets=result.cluster_jets.numpy(),
            embedding_mean=mean,
            embedding_variance=result.embedding_square.numpy() - np.square(mean),
        )
        self.n_dead_steps = self.n_dead_steps + 1 if health.is_dead else 0
        if self.n_dead_steps >= MAX_DEAD_STEPS:
            raise CollapsedEmbeddingError(
                f"the embedding is zero for every jet since {MAX_DEAD_STEPS} steps, up to epoch"
                f" {self._epoch}, step {step}, at learning rate {learning_rate:g}: nothing in the"
                " network can change any more; try a lower learning rate or other loss weights"
            )
        self.losses.append((focal, clustering, float(result.separation_loss)))
        self.health.append(health)
