"""A rank's jets of one split, batch by batch, epoch after epoch: from memory, or read each time.

A share that fits `data.shuffle_buffer_jets` is read once and stays in memory. A larger one is
streamed from its files in every epoch, decoded by a thread ahead of the steps, with no more than
that many jets in memory. Knows nothing of TensorFlow: what a batch is and how the first
neighbours are found is told to it.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Generic, TypeVar

import numpy as np

from ucluster_tune.data.feeding.kept_jets import KeptJets, NeighborSearch
from ucluster_tune.data.feeding.piece_stream import stream_pieces
from ucluster_tune.data.feeding.read_ahead import Progress, ReadAhead
from ucluster_tune.data.feeding.shuffling import Permutation, step_windows, windowed_batches
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.data.reading.row_groups import FileMetadata
from ucluster_tune.data.reading.sharding import Piece, epoch_batches

Batch = TypeVar("Batch")

_LOGGER = logging.getLogger(__name__)
_BATCHES_AHEAD: Final = 2
_MAX_JETS_IN_ORDER: Final = 8192  # held where nothing is shuffled


@dataclass(frozen=True)
class JetBatch(Generic[Batch]):
    """Some jets.

    Attributes:
        batch: as the network reads them.
        mass_gev: float32 [jet].
        jet_class: int64 [jet].
    """

    batch: Batch
    mass_gev: FloatArray
    jet_class: IntArray


class JetFeed(Generic[Batch]):
    """The jets of one rank, as often as they are asked for.

    Args:
        dataset: opened.
        split: of it.
        rank: whose share.
        world_size: number of ranks.
        max_jets: that may be held in memory at a time.
        search: adds the first neighbours to jets.
        kept: where jets that stay in memory are kept, for others too.
        make_batch: returns chosen jets as the network reads them.

    Attributes:
        n_jets: of this rank.
        is_streamed: whether they are read anew each time; the same on all ranks.
    """

    def __init__(
        self,
        dataset: JetDataset,
        split: str,
        rank: int,
        world_size: int,
        *,
        max_jets: int,
        search: NeighborSearch,
        kept: KeptJets,
        make_batch: Callable[[PackedJets, IntArray], Batch],
    ) -> None:
        self._dataset, self._split, self._rank = dataset, split, rank
        self._max_jets, self._search, self._make_batch = max_jets, search, make_batch
        self._kept = kept
        self._pieces = dataset.share(split, rank, world_size)
        self._known: FileMetadata = {}
        n_by_rank = dataset.n_jets_by_rank(split, world_size)
        self.n_jets = n_by_rank[rank]
        self.is_streamed = max(n_by_rank) > max_jets
        if self.is_streamed:
            _LOGGER.info(
                "%d %s jets are streamed: more than data.shuffle_buffer_jets, %d",
                self.n_jets,
                split,
                max_jets,
            )

    def n_kept(self, n_jets: int) -> int:
        """Return of how many jets of a batch something may be kept to the end of an epoch.

        Of all of them where they are in memory anyway, else of a share of each batch, so that it
        is of `max_jets` in all.
        """
        if not self.is_streamed:
            return n_jets
        return max(1, n_jets * self._max_jets // self.n_jets)

    @contextmanager
    def shuffled(self, n_steps: int, seed: int, epoch: int) -> Iterator[Iterator[JetBatch[Batch]]]:
        """Give the batches of an epoch: every jet once, in an order of this epoch's own.

        Sizes differ by one at most. The order depends on seed, epoch, rank and `max_jets` alone.

        Raises:
            DataError: inside of the block, jets cannot be read.
        """
        if not self.is_streamed:
            jets = self._jets
            batches = epoch_batches(len(jets), n_steps, seed, epoch, self._rank)
            yield (self._jet_batch(jets, chosen) for chosen in batches)
            return
        generator = np.random.default_rng((seed, epoch, self._rank))
        pieces = [self._pieces[index] for index in generator.permutation(len(self._pieces))]
        windows = step_windows(self.n_jets, n_steps, self._max_jets)
        with self._streamed(pieces, windows, generator.permutation) as streamed:
            yield streamed

    @contextmanager
    def in_order(self, batch_size: int) -> Iterator[Iterator[JetBatch[Batch]]]:
        """Give the batches of all jets in their order, the last one perhaps a smaller one.

        Raises:
            DataError: inside of the block, jets cannot be read.
        """
        starts = range(0, self.n_jets, batch_size)
        if not self.is_streamed:
            jets = self._jets
            batches = (np.arange(s, min(s + batch_size, len(jets))) for s in starts)
            yield (self._jet_batch(jets, chosen) for chosen in batches)
            return
        sizes = [min(batch_size, self.n_jets - start) for start in starts]
        n_batches = max(1, min(self._max_jets, _MAX_JETS_IN_ORDER) // 2 // batch_size)
        windows = [sizes[i : i + n_batches] for i in range(0, len(sizes), n_batches)]
        with self._streamed(self._pieces, windows, np.arange) as streamed:
            yield streamed

    @cached_property
    def _jets(self) -> PackedJets:
        return self._kept.get(self._dataset, self._split, self._pieces, self._search)

    def _streamed(
        self,
        pieces: Sequence[Piece],
        windows: Sequence[Sequence[int]],
        permutation: Permutation,
    ) -> ReadAhead[JetBatch[Batch]]:
        def make(progress: Progress) -> Generator[JetBatch[Batch], None, None]:
            blocks = stream_pieces(self._dataset, self._split, pieces, progress, self._known)
            for jets in windowed_batches(blocks, windows, permutation):
                progress.go_on()
                yield self._jet_batch(self._search(jets), np.arange(len(jets)))

        return ReadAhead(
            make, _BATCHES_AHEAD, f"{self._split} jets of {self._dataset.config.path}"
        )

    def _jet_batch(self, jets: PackedJets, chosen: IntArray) -> JetBatch[Batch]:
        return JetBatch(
            self._make_batch(jets, chosen), jets.mass_gev[chosen], jets.jet_class[chosen]
        )
