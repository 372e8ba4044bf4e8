"""All jets of a source in its own order, piece by piece: nothing is selected, nothing shuffled.

A source says beforehand how many jets each of its blocks holds, so that blocks can be read in any
process and put together again in order. It is a plain value: it can be sent to another process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets
from ucluster_tune.data.format.parquet_files import (
    ALL_COLUMNS,
    LABELS,
    JetFile,
    check_lists,
    check_masses,
    class_index,
    pack_table,
)
from ucluster_tune.data.format.schema import MASS_GEV, SPLITS
from ucluster_tune.errors import DataError
from ucluster_tune.storage.locations import Location, locate

_MEND: Final = "copy the data set again from where it came, or make it again"
_JETS_AT_A_TIME: Final = 2048
_CHUNK_JETS: Final = 8192


class JetSource(Protocol):
    """Jets in a fixed order, in blocks."""

    @property
    def description(self) -> str:
        """What is read, in which order, in words."""

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each block."""

    def read_block(self, index: int) -> Iterator[PackedJets]:
        """Yield the jets of a block, some thousand at a time at most.

        `jet_class` is an index into `CLASS_NAMES`, -1 where the class is not known.

        Raises:
            DataError: a value is not finite, or the file changed since it was opened.
        """

    def read_block_labels(self, index: int) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the jets of a block, without reading features.

        Raises:
            DataError: a mass is not finite, or the file changed since it was opened.
        """


@dataclass(frozen=True)
class Chunk:
    """Neighbouring blocks of a source.

    Attributes:
        first, stop: blocks numbered `first` (included) to `stop` (not included).
        first_jet: number of jets before them.
        n_jets: in them.
    """

    first: int
    stop: int
    first_jet: int
    n_jets: int


@dataclass(frozen=True)
class ParquetJets:
    """The jets of a parquet data set: split by split, file by file, row by row.

    Attributes:
        description: folder and order.
        row_groups: file and index of each.
        block_sizes: jets of each row group.
    """

    description: str
    row_groups: tuple[tuple[JetFile, int], ...]
    block_sizes: tuple[int, ...]

    def read_block(self, index: int) -> Iterator[PackedJets]:
        """Yield the jets of a row group; see `JetSource`."""
        jet_file, row_group = self.row_groups[index]
        n_read = 0
        with jet_file.opened() as file:
            batches = file.iter_batches(
                _JETS_AT_A_TIME,
                row_groups=[row_group],
                columns=ALL_COLUMNS,
            )
            for batch in batches:
                table = pa.Table.from_batches([batch])
                numbers = n_read + np.arange(len(batch))
                check_lists(table, f"{jet_file}, row group {row_group}", numbers)
                n_read += len(batch)
                yield pack_table(table, CLASS_NAMES)
        if n_read != self.block_sizes[index]:
            raise DataError(
                f"{jet_file}, row group {row_group}: {n_read} jets in place of"
                f" {self.block_sizes[index]}; {_MEND}"
            )

    def read_block_labels(self, index: int) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the jets of a row group; see `JetSource`."""
        jet_file, row_group = self.row_groups[index]
        with jet_file.opened() as file:
            table = file.read_row_group(row_group, LABELS)
        mass_gev = table[MASS_GEV].to_numpy()
        check_masses(mass_gev, f"{jet_file}, row group {row_group}")
        return mass_gev, class_index(table, CLASS_NAMES)


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
    row_groups: list[tuple[JetFile, int]] = []
    sizes: list[int] = []
    for file in (file for name in splits for file in manifest.split_files(name)):
        jet_file = JetFile(folder / file.path, file.n_bytes)
        with jet_file.opened() as opened:
            groups = [opened.metadata.row_group(index) for index in range(opened.num_row_groups)]
        found = [group.num_rows for group in groups]
        if sum(found) != file.n_jets:
            raise DataError(
                f"{jet_file}: holds {sum(found)} jets, the manifest says {file.n_jets}; {_MEND}"
            )
        row_groups += [(jet_file, index) for index in range(len(found))]
        sizes += found
    if not sum(sizes):
        what = "jets" if split is None else f"{split} jets"
        raise DataError(f"{folder}: the data set has no {what}; choose another split or data set")
    order = f"{split} jets" if split else f"jets in the order {', '.join(splits)}"
    return ParquetJets(f"{folder}, {order}", tuple(row_groups), tuple(sizes))


def chunks_of(source: JetSource, n_jets: int = _CHUNK_JETS) -> list[Chunk]:
    """Return all blocks of a source in chunks of at least `n_jets` jets, but for the last one."""
    starts = [0, *accumulate(source.block_sizes)]
    chunks: list[Chunk] = []
    first = 0
    for stop in range(1, len(starts)):
        size = starts[stop] - starts[first]
        if size >= n_jets or (stop == len(starts) - 1 and size):
            chunks.append(Chunk(first, stop, starts[first], size))
            first = stop
    return chunks


def read_chunk(source: JetSource, chunk: Chunk) -> Iterator[PackedJets]:
    """Yield the jets of a chunk in order."""
    for index in range(chunk.first, chunk.stop):
        yield from source.read_block(index)


def read_labels(source: JetSource) -> tuple[FloatArray, IntArray]:
    """Return mass [GeV] and class of all jets of a source, in order."""
    blocks = [source.read_block_labels(index) for index in range(len(source.block_sizes))]
    masses, classes = zip(*blocks, strict=True)
    return np.concatenate(masses), np.concatenate(classes)
