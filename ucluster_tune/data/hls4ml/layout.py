"""What an HLS4ML HDF5 file holds, found by name and checked before anything is read from it.

A file is a stranger's: links to other files and chunks that unpack to more than memory holds are
refused.
"""

import difflib
import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.recognition import HDF5_SIGNATURE
from ucluster_tune.errors import DataError

JETS: Final = "jets"
CONSTITUENTS: Final = "jetConstituentList"
JET_NAMES: Final = "jetFeatureNames"
CONSTITUENT_NAMES: Final = "particleFeatureNames"

MASS_COLUMN: Final = "j_mass"
CLASS_COLUMNS: Final = tuple(f"j_{name}" for name in CLASS_NAMES)
PT_COLUMN: Final = "j1_pt"
FEATURE_COLUMNS: Final = (
    "j1_etarel",
    "j1_phirel",
    "j1_ptrel",
    "j1_deltaR",
    "j1_e",
    "j1_erel",
    "j1_pt",
    "j1_costhetarel",
)
"""One for each of FEATURE_NAMES, in their order; some are stored as logarithms."""

_MEND: Final = "download or copy it again from where it came"
_MAX_NAMES: Final = 1000
_MAX_SHOWN_NAMES: Final = 100  # the published files have 59
_MAX_SHOWN: Final = 40
_MAX_SLOTS: Final = 2000  # constituents of a jet; the published files have 30 to 150
_MAX_CHUNK_BYTES: Final = 192 << 20  # 10 000 jets of 150 constituents in float64 take 183
_READ_BYTES: Final = 16 << 20
_MAX_READ_BYTES: Final = 32 << 20
_MAX_UNPACKING: Final = 16  # times that a chunk is unpacked, one part of it being read at a time


@dataclass(frozen=True)
class Layout:
    """Where in a file's arrays the wanted columns are.

    Attributes:
        n_jets: rows of both arrays.
        n_slots: constituents that a jet has room for.
        mass: column of the jets' mass; None where the file has no table of jets, but constituents.
        classes: column of each of CLASS_NAMES; None where the file has no truth, or not all of it.
        absent_classes: those of CLASS_COLUMNS that are not there, where others are.
        features: column of each of FEATURE_COLUMNS.
        rows_per_read: jets to read at a time; whole chunks, or one of a few parts of a chunk
            that is larger than memory should hold.
    """

    n_jets: int
    n_slots: int
    mass: int | None
    classes: tuple[int, ...] | None
    absent_classes: tuple[str, ...]
    features: tuple[int, ...]
    rows_per_read: int


def is_hdf5(start: bytes) -> bool:
    """Tell whether a file that starts so is HDF5.

    >>> is_hdf5(HDF5_SIGNATURE + b"..."), is_hdf5(b"PAR1")
    (True, False)
    """
    return start.startswith(HDF5_SIGNATURE)


@contextmanager
def opened(path: Path, label: str) -> Iterator[h5py.File]:
    """Give the open HDF5 file; whatever goes wrong with it is a `DataError` naming `label`."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{label}: no such file") from error
    except MemoryError as error:
        raise DataError(f"{label}: too large for this machine's memory; {_MEND}") from error
    # h5py raises all of these for damaged files
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{label}: a damaged HDF5 file: {reason}; {_MEND}") from error


def find_layout(file: h5py.File, label: str) -> Layout:
    """Return where the columns are, once names, shapes, types and sizes were checked.

    Columns are looked up by name. The published files name 17 columns of constituents and have
    16: names without a column are no fault unless they are wanted.

    Raises:
        DataError: something is missing, of a wrong shape or type, or not what it claims to be.
    """
    constituents = _dataset(file, CONSTITUENTS, label)
    _check_numbers(constituents, ("jet", "constituent", "column"), label)
    jets = _dataset(file, JETS, label) if JETS in file else None
    if jets is not None:
        _check_numbers(jets, ("jet", "column"), label)
    if jets is not None and jets.shape[0] != constituents.shape[0]:
        raise DataError(
            f"{label}: {JETS} has {jets.shape[0]} jets and {CONSTITUENTS}"
            f" {constituents.shape[0]}; {_MEND}"
        )
    if constituents.shape[1] > _MAX_SLOTS:
        raise DataError(
            f"{label}: {CONSTITUENTS} has room for {constituents.shape[1]} constituents a jet,"
            f" at most {_MAX_SLOTS} can be read; {_MEND}"
        )
    jet_names = [] if jets is None else _names(file, JET_NAMES, label)
    constituent_names = _names(file, CONSTITUENT_NAMES, label)
    if constituents.shape[2] > len(constituent_names) >= constituents.shape[1]:
        raise DataError(
            f"{label}: {CONSTITUENTS} is {list(constituents.shape)} and has more columns,"
            f" {constituents.shape[2]}, than {CONSTITUENT_NAMES} has names,"
            f" {len(constituent_names)}; it must be [jet, constituent, column]: are its axes"
            " swapped? transpose it, or name all columns"
        )
    absent = tuple(name for name in CLASS_COLUMNS if name not in jet_names)

    def of_jets(name: str) -> int:
        return _column(name, jet_names, jets, JET_NAMES, label)

    return Layout(
        n_jets=constituents.shape[0],
        n_slots=constituents.shape[1],
        mass=None if jets is None else of_jets(MASS_COLUMN),
        classes=None if absent else tuple(map(of_jets, CLASS_COLUMNS)),
        absent_classes=absent if len(absent) < len(CLASS_COLUMNS) else (),
        features=tuple(
            _column(name, constituent_names, constituents, CONSTITUENT_NAMES, label)
            for name in FEATURE_COLUMNS
        ),
        rows_per_read=_rows_per_read(constituents, label, *(() if jets is None else (jets,))),
    )


def refuse_unlabelled(layout: Layout, label: str, *, needs_classes: bool = True) -> None:
    """Raise DataError where the jets have no masses, or no classes though these are needed."""
    if layout.classes is not None or (layout.mass is not None and not needs_classes):
        return
    if layout.mass is None:
        raise DataError(
            f"{label}: no table {JETS}, which has the mass and the class of each jet: a search"
            " needs both; choose files that have it, or predict the clusters of these with"
            " `ucluster-tune predict`, which needs neither"
        )
    absent = layout.absent_classes or CLASS_COLUMNS
    some = "labels only some classes: " if layout.absent_classes else ""
    raise DataError(
        f"{label}: {some}{JETS} has no column{'s' * (len(absent) > 1)} {', '.join(absent)}: a"
        " search needs labelled jets to measure its accuracy; choose files with all of"
        f" {', '.join(CLASS_COLUMNS)}, convert these without classes with `ucluster-tune data"
        " convert --classes none`, to search by a metric that needs none, or predict their"
        " clusters with `ucluster-tune predict`"
    )


def _dataset(file: h5py.File, name: str, label: str) -> h5py.Dataset:
    """Return a data set that is stored in this very file."""
    link = file.get(name, getlink=True)
    if link is None:
        there = ", ".join(list(file)[:20]) or "nothing"
        raise DataError(
            f"{label}: no {name}; it has {there}. HLS4ML LHC-jet files have {JETS},"
            f" {CONSTITUENTS}, {JET_NAMES} and {CONSTITUENT_NAMES}"
        )
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{label}: {name} is a group or a link, it must be a data set; {_MEND}")
    if found.is_virtual or found.external:
        raise DataError(f"{label}: {name} lies in other files, which are not read; {_MEND}")
    return found


def _check_numbers(dataset: h5py.Dataset, axes: Sequence[str], label: str) -> None:
    name = str(dataset.name).lstrip("/")
    _refuse_unknown_filter(dataset, name, label)
    if dataset.dtype.kind not in "fiu":
        raise DataError(f"{label}: {name} holds {dataset.dtype}, it must be numbers; {_MEND}")
    shape = dataset.shape
    if shape is None or len(shape) != len(axes):
        raise DataError(f"{label}: {name} must be [{', '.join(axes)}], got {shape}; {_MEND}")
    if shape[-1] > _MAX_NAMES:
        raise DataError(
            f"{label}: {name} has {shape[-1]} columns, at most {_MAX_NAMES} can be read; {_MEND}"
        )
    n_chunk = int(np.prod([dataset.dtype.itemsize, *(dataset.chunks or ())], dtype=object))
    if n_chunk > _MAX_CHUNK_BYTES:
        raise DataError(
            f"{label}: {name} is packed in chunks {list(dataset.chunks)} of {n_chunk} bytes, at"
            f" most {_MAX_CHUNK_BYTES} can be read; {_repack(dataset)}"
        )


def _refuse_unknown_filter(dataset: h5py.Dataset, name: str, label: str) -> None:
    """Refuse a compression that h5py has no library for, where jets were packed with it."""
    packing = dataset.id.get_create_plist()
    for number in range(packing.get_nfilters()):
        code, _, _, words = packing.get_filter(number)
        if h5py.h5z.filter_avail(code):
            continue
        with suppress(ImportError):  # brings the others that there are
            importlib.import_module("hdf5plugin")
        try:
            dataset[:1]
        except OSError as error:
            told = words.decode(errors="replace")[:_MAX_SHOWN] or "without a name"
            raise DataError(
                f"{label}: {name} is compressed with HDF5 filter {code} ({told}), which is not"
                " installed: `pip install hdf5plugin` brings Blosc, Zstandard and others; or have"
                " it packed with gzip where it was made: `h5repack -f GZIP=4 OLD.h5 NEW.h5`"
            ) from error


def _names(file: h5py.File, dataset_name: str, label: str) -> list[str]:
    """Return names of columns, which are bytes or text."""
    dataset = _dataset(file, dataset_name, label)
    shape, kind = dataset.shape, dataset.dtype.kind
    is_text = kind in "SU" or h5py.check_string_dtype(dataset.dtype) is not None
    if not is_text or shape is None or len(shape) != 1 or shape[0] > _MAX_NAMES:
        raise DataError(
            f"{label}: {dataset_name} must be a list of at most {_MAX_NAMES} names,"
            f" got {dataset.dtype} {shape}; {_MEND}"
        )
    if dataset.dtype.itemsize > _MAX_NAMES:
        raise DataError(
            f"{label}: {dataset_name} has names of {dataset.dtype.itemsize} bytes; {_MEND}"
        )
    return [
        name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        for name in dataset[()].tolist()
    ]


def _column(
    name: str, names: Sequence[str], dataset: h5py.Dataset, names_of: str, label: str
) -> int:
    count = names.count(name)
    if count != 1:
        fault = f"names no column {name}" if count == 0 else f"names {name} {count} times"
        there = ", ".join(other[:_MAX_SHOWN] for other in names[:_MAX_SHOWN_NAMES])
        meant = "" if count else _likely(name, names[:_MAX_SHOWN_NAMES])
        raise DataError(
            f"{label}: {names_of} {fault}; it has {there or 'nothing'}; {meant}columns are looked"
            f" up by the names of HLS4ML LHC jets: write {name} into {names_of} at the place of"
            " its column, or download such a file"
        )
    index, n_columns = names.index(name), dataset.shape[-1]
    if index >= n_columns:
        raise DataError(
            f"{label}: {names_of} names {name} as number {index + 1}, but there are only"
            f" {n_columns} columns; {_MEND}"
        )
    return index


def _likely(name: str, names: Sequence[str]) -> str:
    """Return a question for the column that may be meant; none that is wanted itself."""
    wanted = {MASS_COLUMN, *CLASS_COLUMNS, *FEATURE_COLUMNS}
    plain = {_plain(other): other for other in names if other not in wanted}
    close = difflib.get_close_matches(_plain(name), plain, 1)
    return f"is {plain[close[0]][:_MAX_SHOWN]} meant? " if close else ""


def _plain(name: str) -> str:
    """Return a name without what other files leave out or add.

    >>> _plain("j1_ptrel") == _plain("PT_rel")
    True
    """
    return name.lower().removeprefix("j1_").removeprefix("j_").replace("_", "")


def _rows_per_read(constituents: h5py.Dataset, label: str, *beside: h5py.Dataset) -> int:
    """Return a number of jets that takes some 16 MiB, in whole chunks where memory allows that.

    A chunk of many jets may hold a single column of them, and all columns are wanted: what a read
    takes is told by the rows of a chunk, not by its bytes.
    """
    row_bytes = max(
        1, sum(d.dtype.itemsize * math.prod(d.shape[1:]) for d in (constituents, *beside))
    )
    rows = max(1, _READ_BYTES // row_bytes)
    chunk_rows = min(constituents.chunks[0] if constituents.chunks else 1, constituents.shape[0])
    if chunk_rows <= rows:
        return int(rows // max(1, chunk_rows) * max(1, chunk_rows))
    n_parts = -(-chunk_rows * row_bytes // _MAX_READ_BYTES)
    if n_parts > _MAX_UNPACKING:
        raise DataError(
            f"{label}: {CONSTITUENTS} is packed in chunks {list(constituents.chunks)}, whose"
            f" {chunk_rows} jets take {chunk_rows * row_bytes} bytes with all their columns, at"
            f" most {_MAX_UNPACKING * _MAX_READ_BYTES} can be read; {_repack(constituents)}"
        )
    return int(-(-chunk_rows // n_parts))


def _repack(dataset: h5py.Dataset) -> str:
    """Return the command that packs a data set anew in chunks of few rows."""
    shape = "x".join(map(str, [min(100, dataset.shape[0]), *dataset.shape[1:]]))
    return f"repack it: `h5repack -l {str(dataset.name).lstrip('/')}:CHUNK={shape} OLD.h5 NEW.h5`"
