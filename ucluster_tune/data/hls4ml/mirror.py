"""The parquet mirror of the 150-particle HLS4ML jets: one row a jet, lists without padding.

Its layout is that of its public maker (github.com/bb511/jet_tagging_datamaker): the columns of the
HDF5 files by their names, those of constituents as lists, those of jets as numbers, and in
place of the classes' columns one integer `label`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.hls4ml.jets import JetBlock
from ucluster_tune.data.hls4ml.layout import FEATURE_COLUMNS, MASS_COLUMN, PT_COLUMN
from ucluster_tune.errors import DataError

LABEL: Final = "label"
"""0 to 4: gluon, light quark, W, Z and top, the order of CLASS_NAMES."""
SUFFIX: Final = ".parquet"

_COLUMNS: Final = (*FEATURE_COLUMNS, MASS_COLUMN, LABEL)
_JETS_AT_A_TIME: Final = 2048
_BUFFER_BYTES: Final = 1 << 20
_MAX_CONSTITUENTS: Final = 2000  # of one jet; the mirror has 150
_MEND: Final = "download it again from where it came"


def is_mirror(path: Path) -> bool:
    """Tell, by the names of its columns, whether a file is of the mirror."""
    if path.suffix.lower() != SUFFIX:
        return False
    try:
        return PT_COLUMN in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False


def count_jets(path: Path, label: str) -> int:
    """Return the number of jets of a file whose columns were checked.

    Raises:
        DataError: it is damaged, or a column is missing or of another type.
    """
    with _opened(path, label) as file:
        schema = file.schema_arrow
        for name in _COLUMNS:
            if schema.names.count(name) != 1:
                raise DataError(
                    f"{label}: no column {name}; it has {', '.join(schema.names[:40])}. Jets are"
                    f" read from lists {', '.join(FEATURE_COLUMNS)}, numbers {MASS_COLUMN}, and an"
                    f" integer {LABEL} (0 to 4: {', '.join(CLASS_NAMES)})"
                )
            found = schema.field(name).type
            if not _fits(name, found):
                wanted = "a list of numbers" if name in FEATURE_COLUMNS else "a number"
                raise DataError(f"{label}: column {name} is {found}, it must be {wanted}; {_MEND}")
        return int(file.metadata.num_rows)


def read_mirror(path: Path, label: str) -> Iterator[JetBlock]:
    """Yield all jets of a file in order, some thousand at a time.

    Raises:
        DataError: it is damaged, lists of a jet are not equally long, or a label is no class.
    """
    start = 0
    with _opened(path, label) as file:
        for batch in file.iter_batches(_JETS_AT_A_TIME, columns=list(_COLUMNS)):
            yield _block(start, batch, label)
            start += len(batch)


def _fits(name: str, found: pa.DataType) -> bool:
    if name == LABEL:
        return bool(pa.types.is_integer(found))
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
    if name == MASS_COLUMN:
        return bool(pa.types.is_floating(found))
    return bool(is_list and pa.types.is_floating(found.value_type))


def _block(start: int, batch: pa.RecordBatch, label: str) -> JetBlock:
    numbers = start + np.arange(len(batch))
    counts = _counts(batch[PT_COLUMN])
    _refuse(numbers, counts > _MAX_CONSTITUENTS, f"more than {_MAX_CONSTITUENTS} values", label)
    columns = np.zeros((len(batch), int(counts.max(initial=0)), len(FEATURE_COLUMNS)), np.float32)
    is_real = np.arange(columns.shape[1]) < counts[:, None]
    for index, name in enumerate(FEATURE_COLUMNS):
        is_unequal = _counts(batch[name]) != counts
        _refuse(numbers, is_unequal, f"lists {PT_COLUMN} and {name} of different lengths", label)
        values = pc.list_flatten(batch[name]).to_numpy(zero_copy_only=False)
        columns[is_real, index] = values
    truth = pc.fill_null(batch[LABEL].cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    is_wrong = (truth < 0) | (truth >= len(CLASS_NAMES))
    _refuse(numbers, is_wrong, f"a {LABEL} that is none of 0 to {len(CLASS_NAMES) - 1}", label)
    mass_gev = batch[MASS_COLUMN].to_numpy(zero_copy_only=False).astype(np.float32)
    return JetBlock(start, mass_gev, truth.astype(np.int8), columns)


def _counts(lists: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)


def _refuse(
    numbers: npt.NDArray[np.int64], is_bad: npt.NDArray[np.bool_], fault: str, label: str
) -> None:
    if is_bad.any():
        raise DataError(f"{label}: jet {numbers[is_bad][0]} has {fault}; {_MEND}")


@contextmanager
def _opened(path: Path, label: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{label}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{label}: a damaged parquet file: {reason}; {_MEND}") from error
