"""What of TensorFlow 2.19 is not public and used all the same.

- `ops.gradient_registry._registry`: `tf.custom_gradient` registers the gradient of every call that
  it traces, and keeps it for as long as the process lives, and with it the whole graph: 5 MiB for
  each training, as measured in one process after another.
"""

from tensorflow.python.framework import ops

_BY_CUSTOM_GRADIENT = "CustomGradient-"


def forget_traced_gradients() -> None:
    """Let go of all graphs that only their registered gradients keep; no tracing may go on."""
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith(_BY_CUSTOM_GRADIENT)]:
        del registered[name]
