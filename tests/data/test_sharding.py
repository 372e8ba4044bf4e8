"""Every jet goes to one rank, once an epoch, and all ranks make the same number of steps."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ucluster_tune.data.reading.sharding import (
    epoch_batches,
    part_of_each,
    share_row_groups,
    steps_per_epoch,
)
from ucluster_tune.errors import DataError

ROW_GROUPS = st.lists(st.integers(0, 300), min_size=1, max_size=30)
WORLD_SIZES = st.integers(1, 12)


@given(ROW_GROUPS, WORLD_SIZES)
def test_every_jet_is_on_exactly_one_rank(n_jets, world_size):
    assume(sum(n_jets) >= world_size)
    shares = share_row_groups(n_jets, world_size)
    assert len(shares) == world_size
    held = [
        (piece.row_group, jet)
        for share in shares
        for piece in share
        for jet in range(piece.start, piece.stop)
    ]
    assert sorted(held) == [(group, jet) for group, n in enumerate(n_jets) for jet in range(n)]


@given(ROW_GROUPS, WORLD_SIZES)
def test_no_rank_is_without_jets(n_jets, world_size):
    assume(sum(n_jets) >= world_size)
    for share in share_row_groups(n_jets, world_size):
        assert share, "an empty share"
        assert all(piece.n_jets > 0 for piece in share)


@given(ROW_GROUPS, WORLD_SIZES)
def test_shares_are_equal(n_jets, world_size):
    assume(sum(n_jets) >= world_size)
    held = [sum(p.n_jets for p in share) for share in share_row_groups(n_jets, world_size)]
    assert max(held) - min(held) <= 1


@given(ROW_GROUPS, st.integers(0, 9000))
def test_part_of_the_jets_has_each_row_group_in_its_proportion(n_jets, n_wanted):
    parts = part_of_each(n_jets, n_wanted)
    assert sum(part.n_jets for part in parts) == min(n_wanted, sum(n_jets))
    assert parts == part_of_each(n_jets, n_wanted)
    for part, n in zip(parts, n_jets, strict=True):
        assert 0 <= part.start <= part.stop <= n
        if sum(n_jets) > n_wanted:
            assert abs(part.n_jets - n * n_wanted / sum(n_jets)) < 1


def test_part_of_all_jets_is_all_of_them_and_a_smaller_one_begins_anywhere():
    assert [(p.start, p.stop) for p in part_of_each([7, 0, 5], None)] == [(0, 7), (0, 0), (0, 5)]
    assert len({part.start for part in part_of_each([1000] * 8, 80)}) > 4


def test_two_ranks_share_a_row_group_at_their_border_alone():
    shares = share_row_groups([7, 5, 0, 6, 4], 3)
    assert [[(p.row_group, p.start, p.stop) for p in share] for share in shares] == [
        [(0, 0, 7)],
        [(1, 0, 5), (3, 0, 2)],
        [(3, 2, 6), (4, 0, 4)],
    ]


def test_fewer_jets_than_workers_are_refused_with_the_way_out():
    with pytest.raises(DataError, match=r"2 jets are left for 3 workers: use fewer workers"):
        share_row_groups([1, 1], 3)


@given(ROW_GROUPS, WORLD_SIZES, st.integers(1, 700), st.integers(0, 9))
def test_an_epoch_on_all_ranks(n_jets, world_size, global_batch_size, epoch):
    """Same steps on each rank, no empty batch, no batch too large, every jet once."""
    assume(sum(n_jets) >= world_size)
    by_rank = [sum(p.n_jets for p in share) for share in share_row_groups(n_jets, world_size)]
    n_steps = steps_per_epoch(by_rank, global_batch_size)
    ranks = [epoch_batches(n, n_steps, 1, epoch, rank) for rank, n in enumerate(by_rank)]
    assert [len(batches) for batches in ranks] == [n_steps] * world_size
    for n, batches in zip(by_rank, ranks, strict=True):
        sizes = [len(batch) for batch in batches]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert sorted(np.concatenate(batches)) == list(range(n))


@given(ROW_GROUPS, WORLD_SIZES, st.integers(1, 700))
def test_no_step_is_larger_than_the_global_batch(n_jets, world_size, global_batch_size):
    assume(sum(n_jets) >= world_size)
    assume(global_batch_size >= 2 * world_size)  # each worker brings one jet at least
    by_rank = [sum(p.n_jets for p in share) for share in share_row_groups(n_jets, world_size)]
    n_steps = steps_per_epoch(by_rank, global_batch_size)
    ranks = [epoch_batches(n, n_steps, 1, 1, rank) for rank, n in enumerate(by_rank)]
    for step in range(n_steps):
        assert sum(len(batches[step]) for batches in ranks) <= global_batch_size


def test_order_is_another_one_each_epoch_and_on_each_rank():
    def order(seed, epoch, rank):
        return np.concatenate(epoch_batches(50, 5, seed, epoch, rank)).tolist()

    assert order(1, 1, 0) == order(1, 1, 0), "the same seed must give the same order"
    orders = [order(1, 1, 0), order(1, 2, 0), order(1, 1, 1), order(2, 1, 0), list(range(50))]
    assert len({tuple(order) for order in orders}) == len(orders)
