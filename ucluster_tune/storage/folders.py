"""A folder of files that are written whole: on this machine's disk, or in a bucket that all reach.

On a disk a file is written under another name, flushed and renamed. An object of a bucket appears
whole by itself; a storage that does not answer is asked again, up to a limit.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ucluster_tune.errors import (
    BucketError,
    CheckpointError,
    DataError,
    MissingError,
    UnreachableError,
)
from ucluster_tune.storage.patience import Patience
from ucluster_tune.storage.whole_files import cannot_be_read, explained, write_whole

if TYPE_CHECKING:
    from ucluster_tune.storage.locations import Location

_LOGGER = logging.getLogger(__name__)
PATIENCE_S = 900.0  # of workers: an outage of some minutes must not end a night's search
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 30.0
Result = TypeVar("Result")


class Folder(Protocol):
    """A folder; every method raises CheckpointError where it cannot be used."""

    def place_of(self, name: str) -> str:
        """Return the path or URI of a file, which need not exist."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of it; none where there is no such folder."""

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""

    def write(self, name: str, contents: bytes) -> None:
        """Write a file, which appears whole or not at all."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing where there is none."""


class DiskFolder:
    """A folder on a disk.

    Args:
        root: its path.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def place_of(self, name: str) -> str:
        """Return the path of a file."""
        return str(self._root / name)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of it."""
        with suppress(FileNotFoundError):
            return [path.name for path in (self._root / folder).iterdir()]
        return []

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        path = self._root / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise CheckpointError(cannot_be_read(path, error)) from error

    def write(self, name: str, contents: bytes) -> None:
        """Write a file, and return once the disk has it; folders are made as needed."""
        path = self._root / name
        with explained(path, CheckpointError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, contents)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._root / name).unlink(missing_ok=True)


class BucketFolder:
    """A folder in a bucket.

    Args:
        location: its URI.
        patience_s: how long a storage that does not answer is asked again.
    """

    def __init__(self, location: "Location", patience_s: float = 0.0) -> None:
        self._location, self._patience_s = location, patience_s

    def place_of(self, name: str) -> str:
        """Return the URI of a file."""
        return str(self._location / name)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of it."""
        entries = self._patiently((self._location / folder).list)
        return [entry.name for entry in entries if entry.is_file]

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        return self._patiently((self._location / name).read_bytes)

    def write(self, name: str, contents: bytes) -> None:
        """Write a file, and return once the storage has it."""
        self._patiently(lambda: (self._location / name).write_bytes(contents))

    def remove(self, name: str) -> None:
        """Remove a file; one that stays does no harm."""
        try:
            (self._location / name).delete()
        except DataError as error:
            _LOGGER.warning("left where it is: %s", error)

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        patience = Patience(self._patience_s, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            try:
                return ask()
            except UnreachableError as error:
                if not patience.allows_another_try(error):
                    raise BucketError(f"{error}{self._waited()}") from error
            except MissingError as error:
                raise CheckpointError(str(error)) from error
            except DataError as error:
                raise BucketError(str(error)) from error

    def _waited(self) -> str:
        if not self._patience_s:
            return ""
        return f"; waited {self._patience_s:g} s: carry the study on once it answers"
