"""What is told of a DATA that `predict` and `evaluate` cannot read: what it is, and what fits."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ucluster_tune.errors import DataError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator
_FITS = (
    "name a data set (a folder with manifest.json, or its URI) or HLS4ML HDF5 on this machine: a"
    " file, a folder of files or their tar"
)
_MODEL_FIRST = "MODEL_DIR comes first, then DATA"


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
    from ucluster_tune.data.recognition import Kind, what_is

    a_file = "a file in a bucket" if "://" in place else "neither HDF5 nor an archive of it"
    reasons = {
        Kind.MISSING: f"no such file or folder; {_FITS}",
        Kind.CHECKPOINT: f"this is a file of a model; {_MODEL_FIRST}",
        Kind.MODEL_FILE: f"this is a file of a model; {_MODEL_FIRST}",
        Kind.PARQUET: (
            "this is one parquet file; name the folder of its data set, where manifest.json lies,"
            " or make a data set with `ucluster-tune data convert` or `data simulate`"
        ),
        Kind.OTHER_FILE: f"this is {a_file}; {_FITS}",
        Kind.MODEL: f"this is a model folder; {_MODEL_FIRST}",
        Kind.STUDY: f"this is a study; {_MODEL_FIRST}",
        Kind.TRIAL: f"this is a trial; {_MODEL_FIRST}",
        Kind.EMPTY_FOLDER: f"the folder is empty; {_FITS}",
        Kind.OTHER_FOLDER: f"neither manifest.json nor HDF5 is in this folder; {_FITS}",
    }
    if "://" in place:  # HDF5 is read on this machine alone
        reasons |= dict.fromkeys((Kind.HDF5, Kind.ARCHIVE), f"this is a file in a bucket; {_FITS}")
    try:
        return reasons.get(what_is(place))
    except DataError:
        return None
