"""Which processors TensorFlow uses in this process; called before it uses any."""

import logging
import os

import tensorflow as tf

from ucluster_tune.errors import MachineError

_LOGGER = logging.getLogger(__name__)


def use_devices(n_threads: int, local_rank: int | None = None, cpu_fallback: bool = False) -> None:
    """Limit TensorFlow to some threads and to one GPU, or to none.

    Args:
        n_threads: for the work inside an operation.
        local_rank: of this worker on its node, which picks its GPU among those of the trial
            there; None for no GPU.
        cpu_fallback: whether the CPU will do where TensorFlow sees no GPU at all.

    Raises:
        MachineError: a GPU was promised that TensorFlow does not see.
    """
    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if local_rank is None:
        tf.config.set_visible_devices([], "GPU")
        return
    gpus = tf.config.list_physical_devices("GPU")
    _LOGGER.info(
        "worker %d of this node has GPU %s; TensorFlow sees %d",
        local_rank,
        _given_gpu(local_rank),
        len(gpus),
    )
    if not gpus and cpu_fallback:
        _LOGGER.warning("no GPU that TensorFlow sees: training on the CPU, as configured")
        return
    if local_rank >= len(gpus):
        raise MachineError(
            f"worker {local_rank} of this node was given a GPU, but TensorFlow sees {len(gpus)}:"
            " install the gpu extra and the driver, or set resources.gpus_per_worker to 0, or"
            " resources.cpu_fallback to true to train on the CPU"
        )
    tf.config.set_visible_devices(gpus[local_rank], "GPU")
    tf.config.experimental.set_memory_growth(gpus[local_rank], True)


def _given_gpu(local_rank: int) -> str:
    """Return what CUDA calls the worker's GPU, of those that Ray gave the trial on this node."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return (given[local_rank].strip() if local_rank < len(given) else "") or "of any number"
