"""A trial's checkpoint measured on jets that the search never used, in a Ray task of its own."""

import math
import os
from pathlib import Path
from typing import Any

import ray

from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import TrialError, UClusterTuneError
from ucluster_tune.trial.nodes import most_cpus_of_a_node


def evaluate_checkpoint(
    config: TrialConfig, checkpoint: Path, split: str, n_cpus: float, timeout_s: float
) -> dict[str, Any]:
    """Return the quality of the clusters of `split`, as plain values.

    Args:
        config: of the trial.
        checkpoint: of one of its epochs.
        split: train, validation or test.
        n_cpus: that the task takes, where a node has so many; else all that the largest has.
        timeout_s: limit of the wait.

    Raises:
        UClusterTuneError: of the task, as it is.
        TrialError: the task died or took too long.
    """
    n_cpus = min(n_cpus, most_cpus_of_a_node()) or n_cpus
    task = _evaluate.options(num_cpus=n_cpus).remote(
        config.model_dump(mode="json"), str(checkpoint), split, max(1, math.floor(n_cpus))
    )
    try:
        quality: dict[str, Any] = ray.get(task, timeout=timeout_s)
        return quality
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UClusterTuneError):
            raise error.cause from None
        raise TrialError(f"the evaluation on {split} jets failed:\n{error}") from None
    except ray.exceptions.RayError as error:
        ray.cancel(task, force=True)
        raise TrialError(f"the evaluation on {split} jets gave no answer: {error}") from None


@ray.remote(max_retries=0)
def _evaluate(
    config: dict[str, Any], checkpoint: str, split: str, n_threads: int
) -> dict[str, Any]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow
    from ucluster_tune.trial.checkpointed import measure  # noqa: PLC0415

    use_devices(n_threads)
    return measure(TrialConfig(**config), Path(checkpoint), split)
