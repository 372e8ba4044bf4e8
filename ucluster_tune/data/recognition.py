"""What a path is, told by its name, its first bytes and the names in it.

The one table that all look into who refuse a path and say what it is instead. Nothing is parsed:
whether a file of some kind is whole is told by its reader.
"""

from enum import Enum, auto
from pathlib import Path, PurePath
from typing import Final

from ucluster_tune.config.names import zenodo_number
from ucluster_tune.storage.locations import Location, locate

MANIFEST_JSON: Final = "manifest.json"
MODEL_JSON: Final = "model.json"
HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
HDF5_ENDINGS: Final = (".h5", ".hdf5", ".hdf")
ARCHIVE_ENDINGS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CHECKPOINT_START: Final = b'{"format": "ucluster-tune checkpoint"'
PUBLISHED_ENDINGS: Final = (".index", ".data-00000-of-00001", ".meta")


class Kind(Enum):
    """What a path may be."""

    MISSING = auto()
    ZENODO_RECORD = auto()
    HDF5 = auto()
    ARCHIVE = auto()
    PARQUET = auto()
    CHECKPOINT = auto()
    MODEL_FILE = auto()
    OTHER_FILE = auto()
    DATASET = auto()
    MODEL = auto()
    STUDY = auto()
    TRIAL = auto()
    HDF5_FOLDER = auto()
    PARQUET_FOLDER = auto()
    EMPTY_FOLDER = auto()
    OTHER_FOLDER = auto()


FILES: Final = frozenset(
    {
        *(Kind.HDF5, Kind.ARCHIVE, Kind.PARQUET),
        *(Kind.CHECKPOINT, Kind.MODEL_FILE, Kind.OTHER_FILE),
    }
)
_BY_START: Final = ((HDF5_SIGNATURE, Kind.HDF5), (CHECKPOINT_START, Kind.CHECKPOINT))
_BY_ENDING: Final = (
    ((".parquet",), Kind.PARQUET),
    (ARCHIVE_ENDINGS, Kind.ARCHIVE),
    ((".ckpt", ".npz", *PUBLISHED_ENDINGS, MODEL_JSON), Kind.MODEL_FILE),
)
_BY_MEMBER: Final = (
    (MANIFEST_JSON, Kind.DATASET),
    (MODEL_JSON, Kind.MODEL),
    ("record.jsonl", Kind.STUDY),
    ("checkpoints", Kind.TRIAL),
)
_BY_ENDING_OF_MEMBER: Final = (
    (HDF5_ENDINGS, Kind.HDF5_FOLDER),
    ((".parquet",), Kind.PARQUET_FOLDER),
)


def what_is(place: str | Path | Location) -> Kind:
    """Return what a path, a URI or the name of a record is.

    Raises:
        DataError: it cannot be looked at; of a bucket, also that there is none.
    """
    if isinstance(place, str) and zenodo_number(place) is not None:
        return Kind.ZENODO_RECORD
    location = locate(place)
    if (location / MANIFEST_JSON).kind() == "file":  # of a bucket, without listing it
        return Kind.DATASET
    kind = location.kind()
    if kind == "file":
        start = location.read_bytes(max(len(start) for start, _ in _BY_START))
        return _kind_of_file(location.name, start)
    names = [entry.name for entry in location.list()]  # tells of a bucket that is not there
    return Kind.MISSING if kind == "missing" else _kind_of_folder(names)


def published_checkpoint(path: Path) -> Path | None:
    """Return the prefix that TensorFlow knows a checkpoint by, of that or of one of its files."""
    for ending in ("", *PUBLISHED_ENDINGS):
        prefix = path.with_name(path.name.removesuffix(ending))
        if prefix.with_name(f"{prefix.name}.index").is_file() and not prefix.is_file():
            return prefix
    return None


def _kind_of_file(name: str, start: bytes) -> Kind:
    for signature, kind in _BY_START:
        if start.startswith(signature):
            return kind
    for endings, kind in _BY_ENDING:
        if name.lower().endswith(endings):
            return kind
    return Kind.OTHER_FILE


def _kind_of_folder(names: list[str]) -> Kind:
    for member, kind in _BY_MEMBER:
        if member in names:
            return kind
    endings = {PurePath(name).suffix.lower() for name in names}
    for some, kind in _BY_ENDING_OF_MEMBER:
        if endings & set(some):
            return kind
    return Kind.OTHER_FOLDER if names else Kind.EMPTY_FOLDER
