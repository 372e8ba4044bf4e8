"""Which jets each worker reads, and in which steps: the same number on every worker.

Horovod hangs when one worker makes a step that another does not, so steps are worked out from the
whole data set and the number of workers, never from what one worker holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ucluster_tune.errors import DataError

IntArray = npt.NDArray[np.int64]
_SEED_OF_PARTS = 1


@dataclass(frozen=True)
class Piece:
    """Selected jets of one row group: those numbered start (included) to stop (not included)."""

    row_group: int
    start: int
    stop: int

    @property
    def n_jets(self) -> int:
        """Number of jets."""
        return self.stop - self.start


def share_row_groups(n_jets: Sequence[int], world_size: int) -> list[list[Piece]]:
    """Return the pieces of each rank, in order; the ranks' jets differ by one at most.

    Each rank takes a run of neighbouring row groups, so that two ranks share one at their border
    alone. Equal shares keep the global batch at its size, and no rank waits for another.

    Args:
        n_jets: selected jets of each row group.
        world_size: number of ranks.

    Raises:
        DataError: there are fewer jets than ranks.

    >>> [sum(p.n_jets for p in pieces) for pieces in share_row_groups([5, 3, 3], 2)]
    [5, 6]
    """
    if sum(n_jets) < world_size:
        raise DataError(
            f"{sum(n_jets)} jets are left for {world_size} workers: use fewer workers,"
            " a wider selection or more jets"
        )
    borders = [sum(n_jets) * rank // world_size for rank in range(world_size + 1)]
    return [_pieces_between(n_jets, *border) for border in pairwise(borders)]


def part_of_each(n_jets: Sequence[int], n_wanted: int | None) -> list[Piece]:
    """Return a piece of each row group, so many jets together; all of them where there are fewer.

    Row groups give in proportion to their jets, so that the mixture of a data set that is sorted
    by them stays as it is. Where a piece begins is drawn, and is the same whoever asks.

    Args:
        n_jets: selected jets of each row group.
        n_wanted: None for all.

    >>> [p.n_jets for p in part_of_each([60, 0, 30, 10], 10)]
    [6, 0, 3, 1]
    """
    total = sum(n_jets)
    n_wanted = total if n_wanted is None else min(n_wanted, total)
    ends = np.cumsum(n_jets) * n_wanted // max(total, 1)
    draw = np.random.default_rng(_SEED_OF_PARTS)
    pieces = []
    for row_group, (n, size) in enumerate(zip(n_jets, np.diff(ends, prepend=0), strict=True)):
        start = int(draw.integers(n - size + 1))
        pieces.append(Piece(row_group, start, start + int(size)))
    return pieces


def steps_per_epoch(n_jets_by_rank: Sequence[int], global_batch_size: int) -> int:
    """Return the steps of an epoch, so few that no rank is ever without jets.

    All ranks together take at most `global_batch_size` jets in a step, unless a rank has fewer
    jets than that takes steps.

    >>> steps_per_epoch([500, 600], 512)
    3
    """
    n_steps = -(-sum(n_jets_by_rank) // global_batch_size)
    while sum(-(-n // n_steps) for n in n_jets_by_rank) > global_batch_size:
        if n_steps >= min(n_jets_by_rank):
            break
        n_steps += 1  # rounding up on each rank went over the size
    return min(n_steps, *n_jets_by_rank)


def epoch_batches(n_jets: int, n_steps: int, seed: int, epoch: int, rank: int) -> list[IntArray]:
    """Return the jets of each step: every jet once, in an order of this epoch's own.

    Sizes differ by one at most. The order depends on seed, epoch and rank alone, so that training
    which goes on from a checkpoint sees the same batches.
    """
    order = np.random.default_rng((seed, epoch, rank)).permutation(n_jets)
    return [np.asarray(jets) for jets in np.array_split(order, n_steps)]


def _pieces_between(n_jets: Sequence[int], first: int, last: int) -> list[Piece]:
    """Return the pieces with the jets numbered first (included) to last (not included) of all."""
    pieces = []
    n_before = 0
    for row_group, n in enumerate(n_jets):
        start, stop = max(first - n_before, 0), min(last - n_before, n)
        if start < stop:
            pieces.append(Piece(row_group, start, stop))
        n_before += n
    return pieces
