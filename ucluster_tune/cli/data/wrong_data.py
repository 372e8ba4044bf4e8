"""What is told of a DATA that `predict` and `evaluate` cannot read: what it is, and what fits."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ucluster_tune.errors import DataError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ucluster_tune.storage.locations import Location

_FITS = (
    "name a data set (a folder with manifest.json, or its URI) or HLS4ML HDF5 on this machine: a"
    " file, a folder of files or their tar"
)
_MODEL_FIRST = "MODEL_DIR comes first, then DATA"
_CHECKPOINT_ENDINGS = (".ckpt", ".index", ".meta", ".npz")


@contextmanager
def explained_data(place: str) -> "Iterator[None]":
    """Raise the error that fits DATA where what is read inside is no data set at all.

    Args:
        place: path or URI, as typed.

    Raises:
        DataError: as inside, or with other words where the place holds no manifest.
    """
    from ucluster_tune.config.names import zenodo_number

    number = zenodo_number(place)
    if number is not None:
        raise DataError(
            f"{place}: a record of Zenodo, whose files are not on this machine; fetch them with"
            f" `ucluster-tune data download {number} --to DIR`, and name DIR"
        )
    try:
        yield
    except UnreachableError:
        raise
    except DataError as error:
        reason = _reason(place)
        if reason is None:
            raise
        raise DataError(f"{place}: {reason}") from error


def _reason(place: str) -> str | None:
    """Return why a place is no data; None where it is some, or where nothing more is known."""
    from ucluster_tune.data.format.manifest import MANIFEST_NAME
    from ucluster_tune.storage.locations import locate

    try:
        location = locate(place)
        if (location / MANIFEST_NAME).exists():
            return None
        kind = location.kind()
        if kind == "missing":
            location.list()  # of a bucket that is not there this tells so
            return f"no such file or folder; {_FITS}"
        return _file(location) if kind == "file" else _folder(location)
    except DataError:
        return None


def _file(file: "Location") -> str:
    if file.name.endswith(_CHECKPOINT_ENDINGS) or ".data-" in file.name:
        return f"this is a file of a model; {_MODEL_FIRST}"
    if file.name.endswith(".parquet"):
        return (
            "this is one parquet file; name the folder of its data set, where manifest.json lies,"
            " or make a data set with `ucluster-tune data convert` or `data simulate`"
        )
    if not file.is_local:
        return f"this is a file in a bucket; {_FITS}"
    return f"this is neither HDF5 nor an archive of it; {_FITS}"


def _folder(folder: "Location") -> str | None:
    names = {entry.name for entry in folder.list()}
    for kind, name in (
        ("model folder", "model.json"),
        ("study", "record.jsonl"),
        ("trial", "checkpoints"),
    ):
        if name in names:
            return f"this is a {kind}; {_MODEL_FIRST}"
    if any(name.endswith(".parquet") for name in names):
        return None  # the reader of manifests says that it is not complete
    if not names:
        return f"the folder is empty; {_FITS}"
    return f"neither manifest.json nor HDF5 is in this folder; {_FITS}"
