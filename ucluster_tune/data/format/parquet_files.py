"""One parquet file of jets, wherever it lies: opened with its columns checked, read as tables.

Knows nothing of data sets: which jets of a file are wanted is told to it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ucluster_tune.data.format.bounds import FEATURE_BOUNDS, MASS_BOUNDS_GEV, mass_fault
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES, MAX_CONSTITUENTS
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets, pack_lists
from ucluster_tune.data.format.schema import (
    FORMAT_KEY,
    FORMAT_VERSION,
    JET_CLASS,
    MASS_GEV,
    MEND,
    jets_schema,
)
from ucluster_tune.errors import DataError, MissingError
from ucluster_tune.storage.error_words import storage_error
from ucluster_tune.storage.locations import Location

LN_PT: Final = "ln_pt"
LABELS: Final = [JET_CLASS, MASS_GEV]
ALL_COLUMNS: Final = [*LABELS, *FEATURE_NAMES]

_BUFFER_BYTES: Final = 1 << 18  # of a column; without, all columns of a row group are read whole
_MAX_SHOWN: Final = 40
_JETS_AT_A_TIME: Final = 4096  # a row group may hold a million


@dataclass(frozen=True)
class JetFile:
    """A parquet file of jets.

    Attributes:
        place: where it is.
        n_bytes: that the manifest says it has.
    """

    place: Location
    n_bytes: int

    def __str__(self) -> str:
        return str(self.place)

    @contextmanager
    def opened(self, known: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
        """Give the file, its size, columns and row groups checked.

        Args:
            known: metadata of an earlier time, which then are neither read nor checked again.

        Raises:
            DataError: it is missing, cut short, of a newer format or of an unknown shape, or the
                storage fails; also while it is read inside of the block.
        """
        with _reading(self.place), self.place.open_input() as stream:
            if stream.size() != self.n_bytes:
                raise DataError(
                    f"{self.place}: has {stream.size()} bytes, the manifest says {self.n_bytes}:"
                    f" it was cut short or changed; {MEND}"
                )
            # Of a remote file all columns of a row group come with few requests at a time.
            with pq.ParquetFile(
                stream,
                metadata=known,
                pre_buffer=not self.place.is_local,
                buffer_size=_BUFFER_BYTES if self.place.is_local else 0,
            ) as file:
                if known is None:
                    _check_columns(self.place, file.schema_arrow)
                yield file


def check_masses(mass_gev: FloatArray, where: str, first_jet: int = 0) -> None:
    """Refuse masses that are not finite or out of bounds.

    Args:
        mass_gev: float [jet].
        where: the jets come from, for errors.
        first_jet: number of the first one there.

    Raises:
        DataError: naming the first such jet.
    """
    if MASS_BOUNDS_GEV.hold(mass_gev):
        return
    if not np.isfinite(mass_gev).all():
        raise DataError(f"{where}, column {MASS_GEV}: values are NaN or infinite; {MEND}")
    first = int(np.flatnonzero(MASS_BOUNDS_GEV.outside(mass_gev))[0])
    raise DataError(
        f"{where}, column {MASS_GEV}: jet {first_jet + first} has a mass"
        f" {mass_fault(float(mass_gev[first]))}; {MEND}"
    )


def check_lists(table: pa.Table, where: str, jets: IntArray | None = None) -> None:
    """Refuse lists of constituents that are not what the format promises.

    None is empty, too long, unequal to the jet's others, padded or out of order; no value is
    infinite, NaN or absurd.

    Args:
        table: some jets.
        where: they come from, for errors.
        jets: their numbers there; by default those from 0 on.

    Raises:
        DataError: naming `where` the table comes from, and the column.
    """
    counts = pc.list_value_length(table[FEATURE_NAMES[0]])
    n_without = len(counts) - int(np.count_nonzero(counts.fill_null(0)))
    if n_without:
        raise DataError(f"{where}: {n_without} jets have no constituents; {MEND}")
    longest = pc.max(counts).as_py() or 0
    if longest > MAX_CONSTITUENTS:
        raise DataError(
            f"{where}: a jet has {longest} constituents, the format allows"
            f" {MAX_CONSTITUENTS}; {MEND}"
        )
    for name in FEATURE_NAMES:
        if pc.list_value_length(table[name]) != counts:
            raise DataError(
                f"{where}: columns {FEATURE_NAMES[0]} and {name} list different numbers of"
                f" constituents for a jet; {MEND}"
            )
        values, bounds = flat(table[name]), FEATURE_BOUNDS[name]
        if bounds.hold(values):
            continue
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        if n_bad:
            raise DataError(f"{where}, column {name}: {n_bad} values are NaN or infinite; {MEND}")
        first = int(np.flatnonzero(bounds.outside(values))[0])
        jet = int(np.searchsorted(np.cumsum(counts.to_numpy()), first, side="right"))
        raise DataError(
            f"{where}, column {name}: jet {jet if jets is None else jets[jet]} has a constituent"
            f" with {values[first]:g}, outside of {bounds}; {MEND}"
        )
    _refuse_padding(table, counts.to_numpy(), where, jets)


def _refuse_padding(table: pa.Table, counts: IntArray, where: str, jets: IntArray | None) -> None:
    """Refuse lists that go on with zeros, or repeat a constituent, or are not in descending pt."""
    ln_pt = flat(table[LN_PT])
    starts = np.cumsum(counts) - counts
    is_follower = np.ones(len(ln_pt), np.bool_)
    is_follower[starts] = False
    follows = np.flatnonzero(is_follower[1:] & (ln_pt[1:] >= ln_pt[:-1])) + 1
    if not len(follows):  # all lists descend strictly, as nearly all do
        return
    values = [flat(table[name]) for name in FEATURE_NAMES]
    is_zero = np.logical_and.reduce([column[follows] == 0 for column in values])
    is_same = np.logical_and.reduce([column[follows] == column[follows - 1] for column in values])
    is_misplaced = ln_pt[follows] > ln_pt[follows - 1]
    for is_bad, what in (
        (
            is_zero | is_same,
            "has padding among its constituents: leave it out, lists end with the last real one",
        ),
        (is_misplaced, "has constituents that are not in descending pt: sort its lists by ln_pt"),
    ):
        if is_bad.any():
            jet = int(np.searchsorted(starts, follows[is_bad][0], side="right")) - 1
            raise DataError(f"{where}: jet {jet if jets is None else jets[jet]} {what}")


def tables_of(file: pq.ParquetFile, row_group: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield a row group some thousand jets at a time, each time with the number of the first."""
    start = 0
    for batch in file.iter_batches(_JETS_AT_A_TIME, row_groups=[row_group], columns=ALL_COLUMNS):
        yield start, as_promised(pa.Table.from_batches([batch]))
        start += len(batch)


def as_promised(table: pa.Table) -> pa.Table:
    """Return jets with the types of the format, whichever of Arrow's encodings they have."""
    for index, field in enumerate(table.schema):
        is_text, is_plain = _is_text(field.type), pa.types.is_string(field.type)
        if is_text and not is_plain:
            table = table.set_column(index, field.name, table[index].cast(pa.string()))
        elif _is_list(field.type) and not pa.types.is_list(field.type):
            lists = table[index].cast(pa.list_(field.type.value_type))
            table = table.set_column(index, field.name, lists)
    return table


def pack_table(table: pa.Table, class_names: Sequence[str]) -> PackedJets:
    """Return checked jets as the network reads them."""
    features = np.stack([flat(table[name]) for name in FEATURE_NAMES], axis=1)
    return pack_lists(
        features.astype(np.float32),
        pc.list_value_length(table[FEATURE_NAMES[0]]).to_numpy(),
        table[MASS_GEV].to_numpy(),
        class_index(table, class_names),
    )


def class_index(table: pa.Table, class_names: Sequence[str]) -> IntArray:
    """Return int64 [jet]: index into `class_names`, -1 for any other class and for none."""
    found = pc.index_in(table[JET_CLASS], pa.array(class_names, pa.string()))
    return np.asarray(found.fill_null(-1).to_numpy(), np.int64)


def refuse_unknown_classes(table: pa.Table, where: str) -> None:
    """Raise DataError for a class that is none of CLASS_NAMES; a jet may have none."""
    unknown = set(pc.unique(table[JET_CLASS]).to_pylist()) - {*CLASS_NAMES, None}
    if unknown:
        raise DataError(
            f"{where}, column {JET_CLASS}: unknown class {min(unknown)[:_MAX_SHOWN]!r};"
            f" classes are {', '.join(CLASS_NAMES)}; {MEND}"
        )


def flat(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return all constituents of all jets, one after the other; NaN for a missing value."""
    return np.asarray(pc.list_flatten(column).to_numpy())


def _check_columns(path: Location, schema: pa.Schema) -> None:
    version = (schema.metadata or {}).get(FORMAT_KEY, b"1")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {version.decode(errors='replace')} is newer than"
            f" {FORMAT_VERSION}, the newest that this version of ucluster-tune reads;"
            " upgrade ucluster-tune"
        )
    for field in jets_schema():
        n_found = schema.names.count(field.name)
        if n_found != 1:
            fault = f"{n_found} columns {field.name}" if n_found else f"no column {field.name}"
            raise DataError(f"{path}: {fault}; it has {', '.join(schema.names)}; {MEND}")
        found = schema.field(field.name).type
        if not _same_kind(found, field.type):
            raise DataError(
                f"{path}: column {field.name} holds {found}, the format says {field.type}; {MEND}"
            )


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_string(wanted):
        return _is_text(found)
    if pa.types.is_list(wanted):
        return _is_list(found) and bool(found.value_type == wanted.value_type)
    return bool(found == wanted)


def _is_text(found: pa.DataType) -> bool:
    values = found.value_type if pa.types.is_dictionary(found) else found
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(values) for is_kind in kinds)


def _is_list(found: pa.DataType) -> bool:
    kinds = (
        *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
        *(pa.types.is_list_view, pa.types.is_large_list_view),
    )
    return any(is_kind(found) for is_kind in kinds)


@contextmanager
def _reading(place: Location) -> Iterator[None]:
    """Turn errors of storage and of Arrow into a `DataError` that names the file."""
    try:
        yield
    except MissingError as error:
        raise DataError(f"{place}: missing, though the manifest lists it; {MEND}") from error
    except (pa.ArrowException, OSError) as error:
        found = storage_error(error, place.text)
        if isinstance(found, MissingError):
            raise DataError(f"{place}: missing, though the manifest lists it; {MEND}") from error
        if found is not None:
            raise found from error
        # Arrow has an OSError of its own for contents that it cannot make out.
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{place}: not a readable parquet file: {reason}; {MEND}") from error
