"""Tables of jets as they come from parquet files: checked, and packed for the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ucluster_tune.data.features import FEATURE_NAMES, MAX_CONSTITUENTS
from ucluster_tune.data.packed import IntArray, PackedJets, pack_lists
from ucluster_tune.data.schema import (
    FORMAT_KEY,
    FORMAT_VERSION,
    JET_CLASS,
    MASS_GEV,
    jets_schema,
)
from ucluster_tune.errors import DataError

MEND: Final = "copy the data set again from where it came, or make it again"
JET_COLUMNS: Final = (JET_CLASS, MASS_GEV, *FEATURE_NAMES)


def check_columns(path: Path, schema: pa.Schema) -> None:
    """Raise DataError where a file has not the columns of the format, or has a newer one."""
    version = (schema.metadata or {}).get(FORMAT_KEY, b"1")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {version.decode(errors='replace')} is newer than"
            f" {FORMAT_VERSION}, the newest that this version of ucluster-tune reads;"
            " upgrade ucluster-tune"
        )
    for field in jets_schema():
        index = schema.get_field_index(field.name)
        if index < 0:
            raise DataError(
                f"{path}: no column {field.name}; it has {', '.join(schema.names)}; {MEND}"
            )
        found = schema.field(index).type
        if not _same_kind(found, field.type):
            raise DataError(
                f"{path}: column {field.name} holds {found}, the format says {field.type}; {MEND}"
            )


def check_constituents(table: pa.Table, where: str) -> None:
    """Raise DataError, naming `where`, for a jet or value that the network cannot take."""
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
        n_bad = int(np.count_nonzero(~np.isfinite(_flat(table[name]))))
        if n_bad:
            raise DataError(f"{where}, column {name}: {n_bad} values are NaN or infinite; {MEND}")


def pack_table(table: pa.Table, class_names: Sequence[str]) -> PackedJets:
    """Return checked jets as the network reads them."""
    features = np.stack([_flat(table[name]) for name in FEATURE_NAMES], axis=1)
    return pack_lists(
        features.astype(np.float32),
        pc.list_value_length(table[FEATURE_NAMES[0]]).to_numpy(),
        table[MASS_GEV].to_numpy(),
        class_index(table, class_names),
    )


def class_index(table: pa.Table, class_names: Sequence[str]) -> IntArray:
    """Return int64 [jet]: index into `class_names`, -1 for any other class and for none."""
    index = pc.index_in(table[JET_CLASS], pa.array(class_names)).fill_null(-1)
    return np.asarray(index.to_numpy(), np.int64)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of the file system and of Arrow into a `DataError` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing, though the manifest lists it; {MEND}") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}; {MEND}") from error
        # Arrow has an OSError of its own for contents that it cannot make out.
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a readable parquet file: {reason}; {MEND}") from error


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(found) and found.value_type == wanted.value_type)
    return bool(found == wanted)


def _flat(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return all constituents of all jets, one after the other; NaN for a missing value."""
    return np.asarray(pc.list_flatten(column).to_numpy())
