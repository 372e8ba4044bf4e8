"""Which jets each worker reads, and in which steps: the same number on every worker.

Horovod hangs when one worker makes a step that another does not, so steps are worked out from the
whole data set and the number of workers, never from what one worker holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ucluster_tune.errors import DataError

IntArray = npt.NDArray[np.int64]


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
    """Return the pieces of each rank: whole row groups, dealt so that the ranks' jets balance.

    Row groups are cut only where there are fewer of them than ranks.

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
    pieces = [Piece(index, 0, n) for index, n in enumerate(n_jets) if n > 0]
    while len(pieces) < world_size:
        largest = max(pieces, key=lambda piece: piece.n_jets)
        middle = (largest.start + largest.stop) // 2
        pieces.remove(largest)
        pieces.append(Piece(largest.row_group, largest.start, middle))
        pieces.append(Piece(largest.row_group, middle, largest.stop))

    shares: list[list[Piece]] = [[] for _ in range(world_size)]
    for piece in sorted(pieces, key=lambda piece: -piece.n_jets):
        min(shares, key=lambda share: sum(p.n_jets for p in share)).append(piece)
    return [sorted(share, key=lambda p: (p.row_group, p.start)) for share in shares]


def steps_per_epoch(n_jets_by_rank: Sequence[int], global_batch_size: int) -> int:
    """Return the steps of an epoch: batches are at most `global_batch_size`, and none is empty.

    >>> steps_per_epoch([500, 600], 512)
    3
    """
    return min(-(-sum(n_jets_by_rank) // global_batch_size), *n_jets_by_rank)


def epoch_batches(n_jets: int, n_steps: int, seed: int, epoch: int, rank: int) -> list[IntArray]:
    """Return the jets of each step: every jet once, in an order of this epoch's own.

    Sizes differ by one at most. The order depends on seed, epoch and rank alone, so that training
    which goes on from a checkpoint sees the same batches.
    """
    order = np.random.default_rng((seed, epoch, rank)).permutation(n_jets)
    return [np.asarray(jets) for jets in np.array_split(order, n_steps)]
