"""A data set copied from a folder to where other machines can read it; knows nothing of jets."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ucluster_tune.data.format.manifest import MANIFEST_NAME
from ucluster_tune.storage.locations import Location

_CHUNK_BYTES: Final = 8 * 2**20


def dataset_bytes(folder: Path) -> int:
    """Return the size of all files of a data set."""
    return sum(path.stat().st_size for path in _files(folder))


def copy_dataset(folder: Path, place: Location, on_bytes: Callable[[int], None]) -> None:
    """Copy all files, the manifest last: with it the copy is a data set, before it is none.

    Args:
        folder: of the data set.
        place: of the copy; what another copy left there half done is written over.
        on_bytes: called with the number of bytes copied since the last call.

    Raises:
        DataError: the place cannot be written.
    """
    for path in sorted(_files(folder), key=lambda path: path.name == MANIFEST_NAME):
        _copy(path, place / path.relative_to(folder).as_posix(), on_bytes)


def refuse_unwritable(place: Location) -> None:
    """Raise DataError where no data set can be copied to."""
    probe = place / ".can_be_written"
    probe.write_bytes(b"")
    probe.delete()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy(path: Path, place: Location, on_bytes: Callable[[int], None]) -> None:
    with path.open("rb") as source, place.reading(), place.open_output() as target:
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)
            on_bytes(len(chunk))
