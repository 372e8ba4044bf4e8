"""What of TensorFlow 2.20 and Horovod 0.28 is not public, or not promised, and used all the same.

- `ops.gradient_registry._registry`: `tf.custom_gradient` registers the gradient of every call that
  it traces, and keeps it for as long as the process lives, and with it the whole graph: 5 MiB for
  each training, as measured in one process after another.
- The texts of Horovod's errors, where types do not tell one from another.
"""

import re

import tensorflow as tf
from tensorflow.python.framework import ops

_BY_CUSTOM_GRADIENT = "CustomGradient-"

# Horovod gives TensorFlow all of its errors as one type, which TensorFlow has for more than that:
# libraries of GPUs, Python called from graphs. So the text must tell them apart: Horovod's
# operations are named after it, and Gloo below it names the file of its source.
_OF_HOROVOD = re.compile("Horovod|gloo/transport")


def forget_traced_gradients() -> None:
    """Let go of all graphs that only their registered gradients keep; no tracing may go on."""
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith(_BY_CUSTOM_GRADIENT)]:
        del registered[name]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of the machine or of a GPU.

    >>> is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    True
    """
    return isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error says that another worker is gone, which failed first.

    >>> lost = "[/horovod/third_party/gloo/gloo/transport/tcp/pair.cc:589] Read error"
    >>> is_lost_connection(tf.errors.UnknownError(None, None, lost))
    True
    >>> is_lost_connection(tf.errors.InvalidArgumentError(None, None, "Horovod: shapes differ"))
    False
    """
    return isinstance(error, tf.errors.UnknownError) and bool(_OF_HOROVOD.search(str(error)))
