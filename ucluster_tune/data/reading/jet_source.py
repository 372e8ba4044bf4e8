"""Jets in the order of their source, piece by piece, for predictions: nothing is shuffled.

A source says beforehand how many jets each of its blocks holds, so that blocks can be read in any
process and put together again in order. It is a plain value: it can be sent to another process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, takewhile
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets
from ucluster_tune.data.format.parquet_files import JetFile
from ucluster_tune.data.format.schema import JET_CLASS, MEND, SPLITS
from ucluster_tune.data.reading.row_groups import Labels, RowGroup, read_jets, read_labels
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import DataError
from ucluster_tune.storage.locations import Location, locate

_CHUNK_JETS: Final = 8192
_MAX_NAMES, _MAX_CHARACTERS = 5, 40  # of unknown classes


class JetSource(Protocol):
    """Jets in a fixed order, in blocks."""

    @property
    def description(self) -> str:
        """What is read, in which order, in words."""

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each block."""

    def read(self, blocks: range) -> Iterator[PackedJets]:
        """Yield the jets of neighbouring blocks in order, some thousand at a time at most.

        `jet_class` is an index into `CLASS_NAMES`, -1 where the class is not known.

        Raises:
            DataError: a value is not finite, or a file changed since it was opened.
        """

    def read_labels(self, blocks: range) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the jets of neighbouring blocks, and read no features.

        Raises:
            DataError: a mass is not finite, or a file changed since it was opened.
        """

    def place_of(self, chunk: "Chunk", position: int) -> str:
        """Return where a jet stands, such as `jets.h5: jet 7, counted from 0`, for messages.

        Args:
            chunk: of the blocks of this source.
            position: of the jet among those that the source gives of the chunk.
        """

    def unknown_classes(self) -> list[str]:
        """Return some names of classes that are none of CLASS_NAMES, cut where they are long."""


@dataclass(frozen=True)
class Origin:
    """Where neighbouring jets of a source stand.

    Attributes:
        split: train, validation or test; None where there are no splits.
        file: its name.
        first_row: number of the first of them in the file, from 0.
        n_jets: of them.
    """

    split: str | None
    file: str
    first_row: int
    n_jets: int


class WholeSource(JetSource, Protocol):
    """All jets of some files, none left out."""

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the jets of each block stand, in order."""


@dataclass(frozen=True)
class Chunk:
    """Neighbouring blocks of a source.

    Attributes:
        blocks: their numbers.
        first_jet: number of jets before them.
        n_jets: in them.
    """

    blocks: range
    first_jet: int
    n_jets: int


@dataclass(frozen=True)
class ParquetJets:
    """The jets of a parquet data set: split by split, file by file, row by row.

    Attributes:
        description: folder and order.
        row_groups: the blocks.
        origins: where their jets stand.
    """

    description: str
    row_groups: tuple[RowGroup, ...]
    origins: tuple[Origin, ...]

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each row group."""
        return tuple(group.n_jets for group in self.row_groups)

    def read(self, blocks: range) -> Iterator[PackedJets]:
        """Yield the jets of row groups; see `JetSource`."""
        groups = self.row_groups[blocks.start : blocks.stop]
        return read_jets([(group, Piece(0, 0, group.n_jets)) for group in groups], CLASS_NAMES)

    def read_labels(self, blocks: range) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the jets of row groups; see `JetSource`."""
        chosen = self.row_groups[blocks.start : blocks.stop]
        parts: list[Labels] = []
        for file, groups in groupby(chosen, lambda group: group.file):
            first, *others = (group.index for group in groups)
            parts += read_labels(file, range(first, first + len(others) + 1))
        return (
            np.concatenate([labels.mass_gev for labels in parts]),
            np.concatenate([labels.jet_class for labels in parts]),
        )

    def place_of(self, chunk: Chunk, position: int) -> str:
        """Return the file of a jet and its number there; see `JetSource`."""
        number = chunk.first_jet + position
        ends = np.cumsum(self.block_sizes)
        file = self.row_groups[int(np.searchsorted(ends, number, side="right"))].file
        before = takewhile(lambda group: group.file != file, self.row_groups)
        return place_in_file(str(file), number - sum(group.n_jets for group in before), number)

    def unknown_classes(self) -> list[str]:
        """Return names of classes that are none of CLASS_NAMES; see `JetSource`."""
        found: set[str] = set()
        for file in dict.fromkeys(group.file for group in self.row_groups):
            with file.opened() as opened:
                names = opened.read([JET_CLASS])[JET_CLASS].unique().to_pylist()
            found |= {name[:_MAX_CHARACTERS] for name in names if name not in (None, *CLASS_NAMES)}
            if len(found) >= _MAX_NAMES:
                break
        return sorted(found)[:_MAX_NAMES]


@dataclass(frozen=True)
class SelectedJets:
    """The jets of a source that pass a selection, in its order; a source for predictions.

    Its blocks are those of the source, so `block_sizes` are those before the selection.
    """

    source: JetSource
    selection: Selection

    @property
    def description(self) -> str:
        """What is read, in words."""
        return f"{self.source.description}, {self.selection}"

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each block before the selection."""
        return self.source.block_sizes

    def read(self, blocks: range) -> Iterator[PackedJets]:
        """Yield the selected jets of neighbouring blocks."""
        for jets in self.source.read(blocks):
            chosen = np.flatnonzero(self.selection.passes(jets.mass_gev, jets.jet_class))
            if len(chosen):
                yield jets.take(chosen)

    def read_labels(self, blocks: range) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the selected jets of neighbouring blocks."""
        mass_gev, jet_class = self.source.read_labels(blocks)
        passes = self.selection.passes(mass_gev, jet_class)
        return mass_gev[passes], jet_class[passes]

    def place_of(self, chunk: Chunk, position: int) -> str:
        """Return where a selected jet stands; reads labels again, so for messages alone."""
        passes = self.selection.passes(*self.source.read_labels(chunk.blocks))
        return self.source.place_of(chunk, int(np.flatnonzero(passes)[position]))

    def unknown_classes(self) -> list[str]:
        """Return those of the whole source."""
        return self.source.unknown_classes()


def open_parquet(place: Path | str | Location, split: str | None = None) -> ParquetJets:
    """Return the jets of a data set, labelled or not.

    Args:
        place: folder of the data set, or its URI.
        split: one of SPLITS; None for all of them, in that order.

    Raises:
        DataError: something is missing, cut short or of an unknown shape, or there are no jets.
    """
    folder = locate(place)
    manifest = read_manifest(folder)
    splits = SPLITS if split is None else (split,)
    row_groups: list[RowGroup] = []
    origins: list[Origin] = []
    for of_split, file in ((s, file) for s in splits for file in manifest.split_files(s)):
        jet_file = JetFile(folder / file.path, file.n_bytes)
        with jet_file.opened() as opened:
            groups = range(opened.num_row_groups)
            found = [opened.metadata.row_group(index).num_rows for index in groups]
        if sum(found) != file.n_jets:
            raise DataError(
                f"{jet_file}: holds {sum(found)} jets, the manifest says {file.n_jets}; {MEND}"
            )
        row_groups += [RowGroup(jet_file, index, n) for index, n in enumerate(found)]
        firsts = accumulate(found, initial=0)
        origins += [
            Origin(of_split, file.path, *rows) for rows in zip(firsts, found, strict=False)
        ]
    if not any(group.n_jets for group in row_groups):
        what = "jets" if split is None else f"{split} jets"
        raise DataError(f"{folder}: the data set has no {what}; choose another split or data set")
    order = f"{split} jets" if split else f"jets in the order {', '.join(splits)}"
    return ParquetJets(f"{folder}, {order}", tuple(row_groups), tuple(origins))


def chunks_of(source: JetSource, n_jets: int = _CHUNK_JETS) -> list[Chunk]:
    """Return all blocks of a source in chunks of at least `n_jets` jets, but for the last one."""
    starts = [0, *accumulate(source.block_sizes)]
    chunks: list[Chunk] = []
    first = 0
    for stop in range(1, len(starts)):
        size = starts[stop] - starts[first]
        if size >= n_jets or (stop == len(starts) - 1 and size):
            chunks.append(Chunk(range(first, stop), starts[first], size))
            first = stop
    return chunks


def place_in_file(file: str, row: int, number: int) -> str:
    """Return where a jet stands: its file, its row there and its number among all.

    >>> place_in_file("jets.h5", 7, 19)
    'jets.h5: jet 7, counted from 0 (19 of all)'
    """
    place = f"{file}: jet {row}, counted from 0"
    return place if row == number else f"{place} ({number} of all)"
