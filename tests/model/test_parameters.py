"""Named arrays in one flat vector."""

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.errors import ModelError
from ucluster_tune.model.parameters import VectorLayout, layout_of

LAYOUT = VectorLayout((("a", (2, 3)), ("b", ()), ("c", (4,))))
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(7.0), "c": np.arange(8.0, 12.0)}


def test_vector_holds_the_arrays_in_order():
    vector = LAYOUT.to_vector(ARRAYS)
    assert vector.dtype == np.float32
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert LAYOUT.size == 11
    assert LAYOUT.names == ("a", "b", "c")


def test_arrays_and_tensors_come_back():
    vector = LAYOUT.to_vector(ARRAYS)
    arrays, tensors = LAYOUT.to_arrays(vector), LAYOUT.unpack(tf.constant(vector))
    for name, array in ARRAYS.items():
        assert np.array_equal(arrays[name], array)
        assert np.array_equal(tensors[name], array)
        assert tensors[name].shape == array.shape
    assert np.array_equal(LAYOUT.pack(tensors), vector)


def test_gradients_flow_back_into_the_vector():
    vector = tf.constant(LAYOUT.to_vector(ARRAYS))
    with tf.GradientTape() as tape:
        tape.watch(vector)
        total = tf.reduce_sum(LAYOUT.unpack(vector)["c"] ** 2)
    assert tape.gradient(total, vector).numpy().tolist() == [0] * 7 + [16, 18, 20, 22]


def test_missing_array_is_named():
    with pytest.raises(ModelError, match="weights lack 'c'"):
        LAYOUT.to_vector({"a": ARRAYS["a"], "b": ARRAYS["b"]})


def test_array_of_another_shape_is_named_with_both_shapes():
    with pytest.raises(ModelError, match=r"'c' has shape \[3\], the network needs \[4\]"):
        LAYOUT.to_vector({**ARRAYS, "c": np.zeros(3)})


def test_two_arrays_of_one_name_are_our_mistake():
    with pytest.raises(AssertionError, match="two arrays have one name"):
        layout_of([("a", (1,)), ("a", (2,))])
