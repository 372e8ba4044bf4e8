"""Row groups of a data set's files: how many of their jets pass a selection, and reading those."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.data.format.parquet_files import (
    ALL_COLUMNS,
    LABELS,
    JetFile,
    check_lists,
    check_masses,
    class_index,
    pack_table,
    refuse_unknown_classes,
)
from ucluster_tune.data.format.schema import JET_CLASS, MASS_GEV, MAX_ROW_GROUP_SIZE
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import DataError

FileMetadata: TypeAlias = dict[JetFile, pq.FileMetaData]

_MEND: Final = "copy the data set again from where it came, or make it again"
_LABELS_AT_A_TIME: Final = 64  # row groups; of a remote file they are asked for side by side
_JETS_AT_A_TIME: Final = 4096  # a row group may hold a million


@dataclass(frozen=True)
class RowGroup:
    """One row group of one file, and how many of its jets pass the selection, by class."""

    file: JetFile
    index: int
    n_selected: dict[str, int]

    def __str__(self) -> str:
        return f"{self.file}, row group {self.index}"

    @property
    def n_jets(self) -> int:
        """Jets that pass the selection."""
        return sum(self.n_selected.values())


@dataclass(frozen=True)
class JetFilter:
    """Which jets of a table are wanted.

    Attributes:
        config: the window of masses.
        class_names: classes that are kept, in the order of their indices.
    """

    config: DataConfig
    class_names: tuple[str, ...]

    def passes(self, table: pa.Table) -> pa.Array:
        """Return bool [jet]: of a kept class, with mass_min_gev < mass < mass_max_gev."""
        in_window = pc.and_(
            pc.greater(table[MASS_GEV], self.config.mass_min_gev),
            pc.less(table[MASS_GEV], self.config.mass_max_gev),
        )
        return pc.and_(in_window, pa.array(class_index(table, self.class_names) >= 0))


def scan_file(file: JetFile, jet_filter: JetFilter) -> Iterator[RowGroup]:
    """Yield the row groups of a file, their classes and masses read and checked.

    Raises:
        DataError: a mass is not finite or out of bounds, or a jet has no class or an unknown one.
    """
    for index, table in enumerate(label_tables(file)):
        yield RowGroup(
            file, index, _count_selected(f"{file}, row group {index}", table, jet_filter)
        )


def label_tables(jet_file: JetFile) -> Iterator[pa.Table]:
    """Yield class and mass of the jets of each row group."""
    with jet_file.opened() as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        first = 0
        while first < len(sizes):
            stop = first + 1
            while (
                stop < min(first + _LABELS_AT_A_TIME, len(sizes))
                and sum(sizes[first : stop + 1]) <= MAX_ROW_GROUP_SIZE
            ):
                stop += 1
            table = file.read_row_groups(range(first, stop), LABELS)
            start = 0
            for n_jets in sizes[first:stop]:
                yield table.slice(start, n_jets)
                start += n_jets
            first = stop


def read_jets(
    pieces: Sequence[tuple[RowGroup, Piece]],
    jet_filter: JetFilter,
    known: FileMetadata | None = None,
) -> Iterator[PackedJets]:
    """Yield the wanted jets of pieces of row groups, checked, some thousand at a time at most.

    Args:
        pieces: in any order; a file is opened once for neighbours.
        jet_filter: with which the row groups were scanned.
        known: what is known of the files; takes what is learnt of others.

    Raises:
        DataError: a value is not finite, or a file changed since it was scanned.
    """
    known = {} if known is None else known
    for jet_file, of_file in groupby(pieces, lambda pair: pair[0].file):
        with jet_file.opened(known.get(jet_file)) as file:
            known[jet_file] = file.metadata
            for group, piece in of_file:
                yield from _read_piece(file, group, piece, jet_filter)


def _read_piece(
    file: pq.ParquetFile, group: RowGroup, piece: Piece, jet_filter: JetFilter
) -> Iterator[PackedJets]:
    n_read = n_rows = 0
    for batch in file.iter_batches(_JETS_AT_A_TIME, row_groups=[group.index], columns=ALL_COLUMNS):
        table = pa.Table.from_batches([batch])
        passes = jet_filter.passes(table)
        table = table.filter(passes)
        check_lists(table, str(group), n_rows + np.flatnonzero(passes))
        n_rows += len(batch)
        start = max(piece.start - n_read, 0)
        wanted = table.slice(start, max(piece.stop - n_read - start, 0))
        n_read += table.num_rows
        if wanted.num_rows:
            yield pack_table(wanted, jet_filter.class_names)
    if n_read != group.n_jets:
        raise DataError(
            f"{group}: {n_read} jets pass the selection in place of {group.n_jets}:"
            f" the file changed since it was opened; {_MEND}"
        )


def _count_selected(where: str, table: pa.Table, jet_filter: JetFilter) -> dict[str, int]:
    check_masses(table[MASS_GEV].to_numpy(), where)
    if table[JET_CLASS].null_count:
        raise DataError(
            f"{where}, column {JET_CLASS}: {table[JET_CLASS].null_count} jets have no class;"
            " a search needs labelled jets to measure its accuracy"
        )
    refuse_unknown_classes(table, where)
    names = jet_filter.class_names
    kept = class_index(table.filter(jet_filter.passes(table)), names)
    return dict(zip(names, np.bincount(kept, minlength=len(names)).tolist(), strict=True))
