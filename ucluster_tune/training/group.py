"""The group of workers that train one network; a group of one needs no Horovod."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.model.start import a_layer_for_horovod


class Group(Protocol):
    """What training needs to know of the other workers."""

    rank: int
    world_size: int

    def sum_tensor(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """Return the sum of `tensor` over all ranks; may be traced into a graph."""

    def gather(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return the arrays of all ranks joined along the first axis, in order of rank."""

    def broadcast(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return the array of rank 0."""


class OneWorker:
    """A group of one: training is a plain function call."""

    rank = 0
    world_size = 1

    def sum_tensor(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """Return `tensor`."""
        del name
        return tensor

    def gather(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return `array`."""
        del name
        return array

    def broadcast(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return `array`."""
        del name
        return array


class HorovodGroup:
    """The Horovod job that this process is a part of."""

    def __init__(self) -> None:
        with a_layer_for_horovod(tf):
            import horovod.tensorflow as hvd  # a group of one must not load it

        hvd.init()
        self._hvd = hvd
        self.rank: int = hvd.rank()
        self.world_size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()

    def sum_tensor(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """Return the sum of `tensor` over all ranks."""
        return self._hvd.allreduce(tensor, op=self._hvd.Sum, name=name)

    def gather(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return the arrays of all ranks joined along the first axis, in order of rank."""
        return np.asarray(self._hvd.allgather(tf.constant(array), name=name))

    def broadcast(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """Return the array of rank 0."""
        return np.asarray(self._hvd.broadcast(tf.constant(array), root_rank=0, name=name))
