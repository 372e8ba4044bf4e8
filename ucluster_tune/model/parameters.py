"""Named arrays packed one after the other into one flat vector.

One vector makes one update of the optimizer, one message between the workers and one array in a
checkpoint out of some eighty weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.errors import ModelError

Shape = tuple[int, ...]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorLayout:
    """Names and shapes of the arrays in a flat vector, in their order.

    >>> VectorLayout((("weights", (2, 3)), ("biases", (3,)))).size
    9
    """

    entries: tuple[tuple[str, Shape], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(name for name, _ in self.entries)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of values, in order."""
        return tuple(prod(shape) for _, shape in self.entries)

    @property
    def size(self) -> int:
        """Number of values in the whole vector."""
        return sum(self.sizes)

    def unpack(self, vector: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the named tensors of `vector` [size]; gradients flow back into it."""
        pieces = tf.split(vector, self.sizes)
        return {
            name: tf.reshape(piece, shape)
            for (name, shape), piece in zip(self.entries, pieces, strict=True)
        }

    def pack(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the vector [size] that holds `tensors`."""
        return tf.concat([tf.reshape(tensors[name], [-1]) for name in self.names], axis=0)

    def to_vector(self, arrays: Mapping[str, npt.ArrayLike]) -> FloatArray:
        """Return float32 [size] made of `arrays`.

        Raises:
            ModelError: an array is missing, or has another shape.
        """
        pieces = []
        for name, shape in self.entries:
            if name not in arrays:
                raise ModelError(f"weights lack {name!r}: they belong to another network")
            array = np.asarray(arrays[name], np.float32)
            if array.shape != shape:
                raise ModelError(
                    f"{name!r} has shape {list(array.shape)}, the network needs {list(shape)}:"
                    " the weights were made with another model configuration"
                )
            pieces.append(array.reshape(-1))
        return np.concatenate(pieces)

    def to_arrays(self, vector: npt.NDArray[np.float32]) -> dict[str, FloatArray]:
        """Return the named arrays of `vector` [size], as views where possible."""
        ends = np.cumsum(self.sizes)[:-1]
        return {
            name: piece.reshape(shape)
            for (name, shape), piece in zip(self.entries, np.split(vector, ends), strict=True)
        }


def layout_of(entries: Sequence[tuple[str, Shape]]) -> VectorLayout:
    """Return the layout of `entries`, which must have different names."""
    names = [name for name, _ in entries]
    assert len(set(names)) == len(names), "two arrays have one name"
    return VectorLayout(tuple(entries))
