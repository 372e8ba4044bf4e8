"""What TensorFlow and Horovod are told before they are loaded, in processes that are ours alone.

Loads nothing itself. Keras 3, with scikit-learn in it, is half of TensorFlow's start, and nothing
here uses it.
"""

import os
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# By the last one TensorFlow looks for Keras 2, which is a package of its own, in place of Keras 3.
START_VARIABLES: Final = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1"}


def prepare_start() -> None:
    """Have TensorFlow start quietly and without Keras here; the user's own settings win."""
    for name, value in START_VARIABLES.items():
        os.environ.setdefault(name, value)


@contextmanager
def a_layer_for_horovod(tensorflow: Any) -> Iterator[None]:
    """Stand in for Keras while Horovod is loaded: it derives a class, unused here, from a layer.

    Args:
        tensorflow: the module.
    """
    keras = tensorflow.keras
    tensorflow.keras = types.SimpleNamespace(
        layers=types.SimpleNamespace(BatchNormalization=object)
    )
    try:
        yield
    finally:
        tensorflow.keras = keras
