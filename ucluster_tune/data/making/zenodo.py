"""Records of the Zenodo archive: what files a record has, and fetching them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from shutil import disk_usage
from typing import Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from ucluster_tune.config.names import zenodo_number
from ucluster_tune.errors import DataError, MachineError
from ucluster_tune.storage.download import (
    OnBytes,
    RemoteFile,
    Say,
    ServerPatience,
    fetch_document,
    fetch_files,
    in_words,
    n_bytes_left,
)
from ucluster_tune.storage.whole_files import explained

ADDRESS_VARIABLE: Final = "UCLUSTER_TUNE_ZENODO_URL"
DEFAULT_ADDRESS: Final = "https://zenodo.org"
_LOCK_NAME: Final = ".download.lock"


@dataclass(frozen=True)
class ZenodoRecord:
    """A record.

    Attributes:
        number: as in its address.
        doi: such as 10.5281/zenodo.3602254.
        title: as in the archive.
        files: in order of their names.
    """

    number: str
    doi: str
    title: str
    files: tuple[RemoteFile, ...]

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(file.n_bytes for file in self.files)


class _Links(BaseModel):
    content: str = Field(alias="self", pattern=r"^https?://")


class _File(BaseModel):
    key: str
    size: int = Field(ge=0, le=10**15)
    checksum: str = Field(pattern=r"^md5:[0-9a-f]{32}$")
    links: _Links


class _Metadata(BaseModel):
    title: str = ""


class _Record(BaseModel):
    id: int
    doi: str = ""
    metadata: _Metadata = _Metadata()
    files: list[_File] = []


def read_record(
    number: str, patience: ServerPatience | None = None, say: Say = lambda line: None
) -> ZenodoRecord:
    """Return what Zenodo says of a record; downloads none of its files.

    Args:
        number: of the record; that of all versions gives the newest.
        patience: with the server.
        say: called with a line on each wait of a second or more.

    Raises:
        DataError: there is no such record, or none that can be understood, or it has no files.
        MachineError: Zenodo cannot be reached.
    """
    base = os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    url = f"{base.rstrip('/')}/api/records/{number}"
    body, status = fetch_document(url, patience or ServerPatience(), say)
    if status in (404, 410):
        raise DataError(f"Zenodo has no record {number} ({url}); check the number")
    if status != 200:
        raise DataError(f"{url}: the server answers HTTP {status}; look at it with a browser")
    try:
        found = _Record.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError) as error:
        faults = error.errors()[:3] if isinstance(error, ValidationError) else []
        told = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults)
        reason = told or " ".join(str(error).split())[:200]
        raise DataError(f"{url}: not a record that can be understood: {reason}") from error
    if not found.files:
        raise DataError(f"{url}: the record has no files, or they are not open to all")
    files = tuple(_remote_file(file, url) for file in sorted(found.files, key=lambda f: f.key))
    if len({file.name for file in files}) < len(files):
        raise DataError(f"{url}: the record names a file twice")
    return ZenodoRecord(str(found.id), found.doi, found.metadata.title, files)


def record_number(name: str) -> str:
    """Return the number of the record that a user names, a bare number included.

    Raises:
        DataError: it is neither a number, a DOI of Zenodo nor its address.

    >>> record_number("3602254"), record_number("doi:10.5281/zenodo.3602254")
    ('3602254', '3602254')
    """
    text = name.strip()
    number = text if text.isascii() and text.isdigit() and len(text) <= 12 else zenodo_number(text)
    if number is None:
        raise DataError(
            f"{name!r} names no Zenodo record; give its number (3602254), its DOI"
            " (10.5281/zenodo.3602254) or its address (https://zenodo.org/records/3602254)"
        )
    return number


def chosen_files(record: ZenodoRecord, patterns: Sequence[str]) -> tuple[RemoteFile, ...]:
    """Return the files of a record whose name matches one of the patterns; all without any.

    Raises:
        DataError: none does.
    """
    files = tuple(
        file
        for file in record.files
        if not patterns or any(fnmatch(file.name, pattern) for pattern in patterns)
    )
    if not files:
        names = ", ".join(file.name for file in record.files)
        raise DataError(
            f"record {record.number} has no file {' or '.join(patterns)}; it has {names}"
        )
    return files


def download_files(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    at_a_time: int = 4,
    on_bytes: OnBytes = lambda name, n_bytes: None,
    say: Say = lambda line: None,
    patience: ServerPatience | None = None,
) -> None:
    """Fetch files of a record into a folder, going on where an earlier try stopped.

    Raises:
        DataError: a file is gone or does not have its checksum.
        MachineError: no network, no space, no permission, or another download into the folder.
    """
    with explained(folder, MachineError):
        folder.mkdir(parents=True, exist_ok=True)
        n_free = disk_usage(folder).free
    n_left = n_bytes_left(files, folder)
    if n_left > n_free:
        raise MachineError(
            f"{folder}: {in_words(n_left)} are to be fetched, and {in_words(n_free)} are free;"
            " free some space, or choose a folder on another disk"
        )
    lock = FileLock(folder / _LOCK_NAME)
    try:
        with lock.acquire(timeout=0):
            try:
                fetch_files(
                    files,
                    folder,
                    at_a_time=at_a_time,
                    on_bytes=on_bytes,
                    say=say,
                    patience=patience,
                )
            finally:
                (folder / _LOCK_NAME).unlink(missing_ok=True)
    except Timeout as error:
        raise MachineError(
            f"{folder}: another download into this folder is running; wait for it, or choose"
            " another folder"
        ) from error


def _remote_file(file: _File, url: str) -> RemoteFile:
    name = file.key
    is_plain = name and PurePosixPath(name).name == name and name.isprintable()
    if not is_plain or name.startswith("."):
        raise DataError(f"{url}: the file name {name!r} is not safe; download it with a browser")
    return RemoteFile(name, file.links.content, file.size, file.checksum.removeprefix("md5:"))
