"""Adam on one flat vector, and the schedules of the published training."""

import math
from typing import NamedTuple

import tensorflow as tf

from ucluster_tune.config.trial import TrainingConfig


class AdamState(NamedTuple):
    """Moments of the gradient, each float32 [parameters.size]."""

    first_moment: tf.Variable
    second_moment: tf.Variable


def adam_step_size(training: TrainingConfig, learning_rate: float, step: int) -> float:
    """Return the learning rate with both bias corrections, for the 1-based `step`.

    As TensorFlow 1 has it: epsilon is added to the square root of the uncorrected second moment,
    unlike in arXiv:1412.6980, algorithm 1.
    """
    correction_1: float = 1.0 - training.adam_beta_1**step
    correction_2: float = 1.0 - training.adam_beta_2**step
    return learning_rate * math.sqrt(correction_2) / correction_1


def adam_update(
    parameters: tf.Variable,
    state: AdamState,
    gradient: tf.Tensor,
    step_size: tf.Tensor,
    training: TrainingConfig,
) -> None:
    """Move `parameters` and `state` by one step of Adam.

    Args:
        parameters: float32 [size].
        state: moments, updated in place.
        gradient: float32 [size].
        step_size: from `adam_step_size`.
        training: Adam's constants.
    """

    def constant(value: float) -> tf.Tensor:
        return tf.constant(value, gradient.dtype)

    tf.raw_ops.ResourceApplyAdam(
        var=parameters.handle,
        m=state.first_moment.handle,
        v=state.second_moment.handle,
        # The correction is already in the rate.
        beta1_power=constant(0.0),
        beta2_power=constant(0.0),
        lr=step_size,
        beta1=constant(training.adam_beta_1),
        beta2=constant(training.adam_beta_2),
        epsilon=constant(training.adam_epsilon),
        grad=gradient,
    )


def learning_rate_after(
    n_jets: int, training: TrainingConfig, n_jets_in_all: int | None = None
) -> float:
    """Return the learning rate once `n_jets` were seen.

    Args:
        n_jets: of all steps before.
        training: the schedule; `step` is the published one.
        n_jets_in_all: of the whole training, where the cosine ends.

    >>> from ucluster_tune.config.trial import TrainingConfig
    >>> learning_rate_after(1_200_000, TrainingConfig())
    0.00025
    >>> cosine = TrainingConfig(learning_rate_schedule="cosine", learning_rate_min=0.0)
    >>> round(learning_rate_after(500, cosine, 1000), 6)
    0.0005
    """
    start, floor = training.learning_rate, training.learning_rate_min
    if training.learning_rate_schedule == "constant":
        rate = start
    elif training.learning_rate_schedule == "cosine":
        done = min(n_jets / n_jets_in_all, 1.0) if n_jets_in_all else 0.0
        rate = floor + (start - floor) * (1.0 + math.cos(math.pi * done)) / 2.0
    else:
        decays = n_jets // training.learning_rate_decay_jets
        rate = max(start * training.learning_rate_decay**decays, floor)
    n_warmup = training.learning_rate_warmup_jets
    if n_jets + training.global_batch_size >= n_warmup:
        return rate
    return rate * (n_jets + training.global_batch_size) / n_warmup


def batch_norm_momentum_after(n_jets: int, training: TrainingConfig) -> float:
    """Return by what share the batch-norm averages move once `n_jets` were seen.

    >>> from ucluster_tune.config.trial import TrainingConfig
    >>> batch_norm_momentum_after(0, TrainingConfig())
    0.5
    """
    decays = n_jets // training.batch_norm_decay_jets
    decayed = training.batch_norm_momentum * training.batch_norm_momentum_decay**decays
    return max(decayed, training.batch_norm_momentum_min)


def inverse_temperature_in(
    epoch: int, n_pretraining_epochs: int, start: float, step: float
) -> float:
    """Return alpha of the 1-based `epoch` in the clustering phase; 0 before it.

    As the published code has it, alpha is 4 in the first clustering epoch and grows by 2. There
    it is negative before that phase, where it is unused.

    >>> inverse_temperature_in(22, 21, 4.0, 2.0)
    4.0
    """
    n_past = epoch - n_pretraining_epochs - 1
    return 0.0 if n_past < 0 else start + step * n_past
