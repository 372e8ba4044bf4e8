"""Row groups of parquet files: the one way in which jets and their labels are read from them.

For training, where jets are selected, and for predictions, where all are wanted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets
from ucluster_tune.data.format.parquet_files import (
    LABELS,
    JetFile,
    as_promised,
    check_lists,
    check_masses,
    class_index,
    pack_table,
    tables_of,
)
from ucluster_tune.data.format.schema import MASS_GEV, MAX_ROW_GROUP_SIZE, MEND
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import DataError

FileMetadata: TypeAlias = dict[JetFile, pq.FileMetaData]

_LABELS_AT_A_TIME: Final = 64  # row groups; of a remote file they are asked for side by side


@dataclass(frozen=True)
class RowGroup:
    """One row group of one file.

    Attributes:
        file, index: which.
        n_jets: that are wanted of it: those that pass a selection, or all.
    """

    file: JetFile
    index: int
    n_jets: int

    def __str__(self) -> str:
        return f"{self.file}, row group {self.index}"


@dataclass(frozen=True)
class Labels:
    """Masses and classes of neighbouring row groups.

    Attributes:
        row_groups: their numbers in the file.
        sizes: int64 [row group]; jets of each.
        mass_gev: float32 [jet].
        jet_class: int64 [jet]; index into CLASS_NAMES, -1 where the class is not known.
    """

    row_groups: range
    sizes: IntArray
    mass_gev: FloatArray
    jet_class: IntArray


def read_labels(file: JetFile, row_groups: range | None = None) -> Iterator[Labels]:
    """Yield the labels of all row groups of a file, or of some; features are not read.

    Raises:
        DataError: a mass is not finite or out of bounds; or as for `JetFile.opened`.
    """
    with file.opened() as opened:
        wanted = range(opened.num_row_groups) if row_groups is None else row_groups
        sizes = [opened.metadata.row_group(index).num_rows for index in wanted]
        first = 0
        while first < len(sizes):
            stop = first + 1
            while (
                stop < min(first + _LABELS_AT_A_TIME, len(sizes))
                and sum(sizes[first : stop + 1]) <= MAX_ROW_GROUP_SIZE
            ):
                stop += 1
            table = as_promised(opened.read_row_groups(wanted[first:stop], LABELS))
            labels = Labels(
                wanted[first:stop],
                np.array(sizes[first:stop]),
                table[MASS_GEV].to_numpy(),
                class_index(table, CLASS_NAMES),
            )
            _check_masses(file, labels)
            yield labels
            first = stop


def read_jets(
    pieces: Sequence[tuple[RowGroup, Piece]],
    class_names: Sequence[str],
    selection: Selection | None = None,
    known: FileMetadata | None = None,
) -> Iterator[PackedJets]:
    """Yield the wanted jets of pieces of row groups, checked, some thousand at a time at most.

    Args:
        pieces: in any order; a file is opened once for neighbours.
        class_names: of the indices that jets get; -1 for any other class and for none.
        selection: by which jets were counted; None where all are wanted.
        known: what is known of the files; takes what is learnt of others.

    Raises:
        DataError: a value is not finite, or a file changed since its jets were counted.
    """
    known = {} if known is None else known
    for jet_file, of_file in groupby(pieces, lambda pair: pair[0].file):
        with jet_file.opened(known.get(jet_file)) as file:
            known[jet_file] = file.metadata
            for group, piece in of_file:
                yield from _read_piece(file, group, piece, class_names, selection)


def _read_piece(
    file: pq.ParquetFile,
    group: RowGroup,
    piece: Piece,
    class_names: Sequence[str],
    selection: Selection | None,
) -> Iterator[PackedJets]:
    n_read = 0
    for first_row, table in tables_of(file, group.index):
        chosen, rows = table, first_row + np.arange(len(table))
        if selection is not None:
            labels = table[MASS_GEV].to_numpy(), class_index(table, CLASS_NAMES)
            passes = selection.passes(*labels)
            chosen, rows = table.filter(pa.array(passes)), rows[passes]
        check_lists(chosen, str(group), rows)
        start = max(piece.start - n_read, 0)
        wanted = chosen.slice(start, max(piece.stop - n_read - start, 0))
        n_read += chosen.num_rows
        if wanted.num_rows:
            yield pack_table(wanted, class_names)
    if n_read != group.n_jets:
        what = "jets" if selection is None else "jets pass the selection"
        raise DataError(
            f"{group}: {n_read} {what} in place of {group.n_jets}: the file changed since it was"
            f" opened; {MEND}"
        )


def _check_masses(file: JetFile, labels: Labels) -> None:
    start = 0
    for index, size in zip(labels.row_groups, labels.sizes.tolist(), strict=True):
        check_masses(labels.mass_gev[start : start + size], f"{file}, row group {index}")
        start += size
