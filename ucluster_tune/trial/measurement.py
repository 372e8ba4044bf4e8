"""A trial's checkpoint measured on jets that the search never used, in a Ray task of its own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import TrialError, UClusterTuneError
from ucluster_tune.model.start import prepare_start
from ucluster_tune.trial.processes.nodes import most_cpus_of_a_node

_ROOM_TIMEOUT_S = 30.0  # longer than the end of the last trial takes to free its CPUs


def measure_checkpoint(
    config: TrialConfig,
    checkpoint: str,
    split: str,
    n_cpus: float,
    least_cpus: float,
    timeout_s: float,
    *,
    keeps_jets: bool = False,
) -> dict[str, Any]:
    """Return the quality of the clusters of `split`, as plain values.

    Args:
        config: of the trial.
        checkpoint: of one of its epochs: a path or URI that every node reaches.
        split: train, validation or test.
        n_cpus: that the task takes, where a node has so many free.
        least_cpus: that it takes where none has.
        timeout_s: limit of the wait.
        keeps_jets: whether to return the jets' clusters and classes too.

    Raises:
        UClusterTuneError: of the task, as it is.
        TrialError: the task died or took too long.
    """
    try:
        with room_on_a_node(n_cpus, least_cpus) as (room, n_given):
            task = _measure.options(**room).remote(
                config, checkpoint, split, max(1, math.floor(n_given)), keeps_jets
            )
            return _answer(task, timeout_s)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UClusterTuneError):
            raise error.cause from None
        raise TrialError(f"the measure on {split} jets failed:\n{error}") from None
    except ray.exceptions.RayError as error:
        raise TrialError(f"the measure on {split} jets gave no answer: {error}") from None


def _answer(task: Any, timeout_s: float) -> dict[str, Any]:
    try:
        quality: dict[str, Any] = ray.get(task, timeout=timeout_s)
    except ray.exceptions.RayError:
        ray.cancel(task, force=True)
        raise
    return quality


@contextmanager
def room_on_a_node(
    n_cpus: float, least_cpus: float, limit_s: float = _ROOM_TIMEOUT_S
) -> Iterator[tuple[dict[str, Any], float]]:
    """Give a task's options, and the CPUs that it gets by them.

    Where others use a cluster too, Ray fills it with small tasks, and one that wants a whole node
    may wait for ever: hence the limit, after which the task is a small one.

    Args:
        n_cpus: wanted; no more than the largest node has.
        least_cpus: where no node has so many free within the limit.
        limit_s: of that wait.
    """
    largest = most_cpus_of_a_node()
    n_cpus, least_cpus = (min(n, largest) or n for n in (n_cpus, least_cpus))
    if n_cpus <= least_cpus:
        yield {"num_cpus": n_cpus}, n_cpus
        return
    group = placement_group([{"CPU": n_cpus}])
    try:
        if group.wait(limit_s):
            inside = PlacementGroupSchedulingStrategy(group)
            yield {"num_cpus": n_cpus, "scheduling_strategy": inside}, n_cpus
            return
    finally:
        with suppress(ray.exceptions.RayError):  # it went with its Ray
            remove_placement_group(group)
    yield {"num_cpus": least_cpus}, least_cpus


@ray.remote(max_retries=0)
def _measure(
    config: TrialConfig, checkpoint: str, split: str, n_threads: int, keeps_jets: bool
) -> dict[str, Any]:
    prepare_start()
    from ucluster_tune.training.device import use_devices  # TensorFlow
    from ucluster_tune.trial.training_run import measure

    use_devices(n_threads)
    return measure(config, checkpoint, split, keeps_jets=keeps_jets)
