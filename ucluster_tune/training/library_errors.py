"""What errors of TensorFlow and Horovod tell, by their types. Loads TensorFlow."""

import re

import tensorflow as tf

# Horovod gives TensorFlow all of its errors as one type, which TensorFlow has for more than that:
# libraries of GPUs, Python called from graphs. So the text must tell them apart: Horovod's
# operations are named after it, and Gloo below it names the file of its source.
_OF_HOROVOD = re.compile("Horovod|gloo/transport")


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
