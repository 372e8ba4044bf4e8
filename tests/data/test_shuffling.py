"""Jets of a stream come out once each, in batches of the right size, few held at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucluster_tune.data.feeding.shuffling import JetWindow, step_windows, windowed_batches
from ucluster_tune.data.format.packed import PackedJets, concatenate
from ucluster_tune.data.reading.sharding import epoch_batches

SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=30)


def blocks_of(sizes):
    """Jets numbered from 0 by their mass, each with one to three rows that hold the number."""
    numbers = np.arange(sum(sizes))
    blocks = []
    for part in np.split(numbers, np.cumsum(sizes)[:-1]):
        n_rows = 1 + part % 3
        features = np.repeat(part, n_rows)[:, None].repeat(8, axis=1).astype(np.float32)
        blocks.append(PackedJets(features, n_rows, part % 5, part.astype(np.float32), part % 2))
    return blocks


def same_jets(found, wanted):
    arrays = ("features", "n_rows", "n_padded", "mass_gev", "jet_class")
    return all(np.array_equal(getattr(found, name), getattr(wanted, name)) for name in arrays)


@given(st.data(), st.integers(1, 300), st.integers(2, 400))
def test_windows_hold_the_batches_of_an_epoch_and_two_of_them_fit(data, n_jets, max_jets):
    n_steps = data.draw(st.integers(1, n_jets))
    windows = step_windows(n_jets, n_steps, max_jets)
    sizes = [size for window in windows for size in window]
    assert sizes == [len(jets) for jets in epoch_batches(n_jets, n_steps, 1, 1, 0)]
    held = [sum(window) for window in windows]
    pairs = [sum(pair) for pair in zip(held, [*held[1:], 0], strict=True)]
    assert all(n <= max_jets or len(window) == 1 for n, window in zip(pairs, windows, strict=True))


def test_windows_are_not_smaller_than_they_need_be():
    assert step_windows(1000, 20, 400) == [[50] * 4] * 5


@given(st.data(), SIZES, st.integers(2, 100), st.integers(0, 3))
def test_each_jet_comes_once_in_a_batch_of_its_size(data, sizes, max_jets, seed):
    n_jets = sum(sizes)
    n_steps = data.draw(st.integers(1, n_jets))
    windows = step_windows(n_jets, n_steps, max_jets)
    order = np.random.default_rng(seed).permutation
    batches = list(windowed_batches(blocks_of(sizes), windows, order))
    assert [len(jets) for jets in batches] == [size for window in windows for size in window]
    together = concatenate(batches)
    found = together.take(np.argsort(together.mass_gev))
    assert same_jets(found, concatenate(blocks_of(sizes)))


@given(SIZES, st.integers(2, 100), st.integers(1, 10))
def test_no_more_than_the_buffer_and_a_block_are_held(sizes, max_jets, batch_size):
    n_jets = sum(sizes)
    n_steps = -(-n_jets // batch_size)
    n_read = 0

    def counted():
        nonlocal n_read
        for block in blocks_of(sizes):
            n_read += len(block)
            yield block

    windows = step_windows(n_jets, n_steps, max_jets)
    n_given = 0
    for jets in windowed_batches(counted(), windows, np.arange):
        # What was given of a window leaves memory with the window.
        n_gone = max((s for s in np.cumsum([sum(w) for w in windows]) if s <= n_given), default=0)
        assert n_read - n_gone <= max(max_jets, 2 * batch_size) + max(sizes)
        n_given += len(jets)


def test_the_next_window_is_filled_little_by_little():
    """A burst of reading at the border of two windows would keep the training waiting."""
    n_read = []

    def counted():
        for index, block in enumerate(blocks_of([10] * 20)):
            n_read.append(index)
            yield block

    batches = windowed_batches(counted(), [[10] * 10, [10] * 10], np.arange)
    seen = []
    for _ in batches:
        seen.append(len(n_read))
    assert seen == list(range(10, 20)) + [20] * 10


@given(SIZES, st.data())
def test_a_window_gives_what_its_parts_hold_together(sizes, data):
    window = JetWindow()
    for block in blocks_of(sizes):
        window.add(block)
    assert len(window) == sum(sizes)
    chosen = data.draw(st.lists(st.integers(0, len(window) - 1), min_size=1, max_size=40))
    wanted = concatenate(blocks_of(sizes)).take(np.array(chosen))
    assert same_jets(window.take(np.array(chosen)), wanted)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([5, 4], "fewer jets than the batches need"), ([5, 6], "1 jets more than the batches need")],
)
def test_another_number_of_jets_than_announced_is_seen(sizes, message):
    with pytest.raises(AssertionError, match=message):
        list(windowed_batches(blocks_of(sizes), [[5], [5]], np.arange))
