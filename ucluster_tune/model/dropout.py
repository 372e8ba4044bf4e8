"""Dropout, which the published recipe has not: channels left out at random while training."""

import tensorflow as tf


class Dropout:
    """Leaves out each channel with a probability; the others grow, so that the mean stays.

    The constituents of a jet lose the same channels: all padded ones are one row, and have to
    stay equal.

    Args:
        rate: probability; 0 changes nothing.
        seed: int32 [2], of this step; the masks are a function of it.
    """

    def __init__(self, rate: float = 0.0, seed: tf.Tensor | None = None) -> None:
        self._rate, self._seed = rate, seed
        self._n_masks = 0

    def of_jets(self, values: tf.Tensor) -> tf.Tensor:
        """Return `values` [jet, channel] without the channels left out."""
        if self._rate == 0:
            return values
        return values * self._mask(tf.shape(values), values.dtype)

    def of_constituents(self, values: tf.Tensor, jet: tf.Tensor, n_jets: tf.Tensor) -> tf.Tensor:
        """Return `values` [row, channel], of the jets `jet` [row], without those channels."""
        if self._rate == 0:
            return values
        mask = self._mask([n_jets, values.shape[1]], values.dtype)
        return values * tf.gather(mask, jet)

    def _mask(self, shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Return 1 / (1 - rate) where a channel stays, 0 where it does not."""
        assert self._seed is not None, "dropout needs a seed"
        self._n_masks += 1  # each layer of a step has a mask of its own
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._n_masks)
        stays = tf.random.stateless_uniform(shape, seed) >= self._rate
        return tf.cast(stays, dtype) / (1.0 - self._rate)
