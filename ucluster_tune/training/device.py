"""Which processors TensorFlow uses in this process; called before it uses any."""

import tensorflow as tf

from ucluster_tune.errors import MachineError


def use_devices(n_threads: int, local_rank: int | None = None) -> None:
    """Limit TensorFlow to some threads and to one GPU, or to none.

    Args:
        n_threads: for the work inside an operation.
        local_rank: of this worker on its node, which picks its GPU among those of the trial
            there; None for no GPU.

    Raises:
        MachineError: a GPU was promised that TensorFlow does not see.
    """
    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if local_rank is None:
        tf.config.set_visible_devices([], "GPU")
        return
    gpus = tf.config.list_physical_devices("GPU")
    if local_rank >= len(gpus):
        raise MachineError(
            f"worker {local_rank} of this node was given a GPU, but TensorFlow sees {len(gpus)}:"
            " install the gpu extra and the driver, or set resources.gpus_per_worker to 0"
        )
    tf.config.set_visible_devices(gpus[local_rank], "GPU")
    tf.config.experimental.set_memory_growth(gpus[local_rank], True)
