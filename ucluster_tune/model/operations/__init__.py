"""The parts of the network that cost the time: in stock TensorFlow, or fused in C++ for CPUs.

Both compute the same to rounding. The fused ones make the edges of a jet in the cache, where they
are needed and again for the gradient, and keep none.
"""

import logging
import os
from functools import cache

import tensorflow as tf

from ucluster_tune.model.operations.fused import FusedOperations, UnusableLibraryError
from ucluster_tune.model.operations.interface import Operations
from ucluster_tune.model.operations.stock import StockOperations

_LOGGER = logging.getLogger(__name__)
CHOICE_VARIABLE = "UCLUSTER_TUNE_OPERATIONS"  # `stock` leaves the fused ones out


@cache
def best_operations() -> Operations:
    """Return the fused operations where this process has them and no GPU, else the stock ones.

    The log says which, and why. To be called once TensorFlow's devices are chosen.
    """
    if os.environ.get(CHOICE_VARIABLE) == "stock":
        _LOGGER.info("the network uses stock TensorFlow operations, as %s says", CHOICE_VARIABLE)
        return StockOperations()
    if tf.config.get_visible_devices("GPU"):
        _LOGGER.info("the network uses stock TensorFlow operations, on a GPU")
        return StockOperations()
    try:
        operations = FusedOperations.load()
    except UnusableLibraryError as error:
        _LOGGER.warning(
            "the network uses stock TensorFlow operations, which are slower: %s", error
        )
        return StockOperations()
    _LOGGER.info("the network uses fused operations, %s", operations.library)
    return operations
