"""What the steps of an epoch tell is read late, and told as if it had been read at once."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.errors import CollapsedEmbeddingError, NonFiniteLossError
from ucluster_tune.training.health import MAX_DEAD_STEPS
from ucluster_tune.training.steps import StepResult
from ucluster_tune.training.watch import READ_EVERY, EpochWatch


def result(focal: float = 2.0, embedding: float = 1.0) -> StepResult:
    values: dict[str, Any] = dict.fromkeys(StepResult._fields, 0.5)
    values |= {"focal_loss": focal, "cluster_jets": [3.0, 4.0]}
    values |= {"embedding_mean": [embedding] * 2, "embedding_square": [embedding**2 * 1.25] * 2}
    return StepResult(**{name: tf.constant(value) for name, value in values.items()})


def test_all_steps_are_read_in_their_order() -> None:
    watch = EpochWatch(3, 0)
    n_steps = READ_EVERY + 3
    for step in range(n_steps):
        watch.take(1e-3 / (step + 1), result(focal=step))
    assert len(watch.losses) == READ_EVERY
    watch.read()
    assert watch.losses == [(step, 0.5, 0.5) for step in range(n_steps)]
    assert [health.step for health in watch.health] == list(range(1, n_steps + 1))
    last = watch.health[-1]
    assert last.learning_rate == 1e-3 / n_steps
    assert np.allclose(last.embedding_variance, 0.25)


def test_a_fault_is_told_with_the_step_in_which_it_was() -> None:
    watch = EpochWatch(3, 0)
    watch.take(1e-3, result())
    watch.take(2e-3, result(focal=math.nan))
    watch.take(3e-3, result())
    with pytest.raises(NonFiniteLossError, match=r"epoch 3, step 2, at learning rate 0\.002"):
        watch.read()


def test_steps_without_an_embedding_are_counted_over_epochs() -> None:
    watch = EpochWatch(3, MAX_DEAD_STEPS - 2)
    watch.take(1e-3, result(embedding=0.0))
    watch.read()
    assert watch.n_dead_steps == MAX_DEAD_STEPS - 1
    following = EpochWatch(4, watch.n_dead_steps)
    following.take(1e-3, result(embedding=0.0))
    with pytest.raises(CollapsedEmbeddingError, match="epoch 4, step 1"):
        following.read()
    recovered = EpochWatch(4, MAX_DEAD_STEPS - 1)
    recovered.take(1e-3, result())
    recovered.read()
    assert recovered.n_dead_steps == 0
