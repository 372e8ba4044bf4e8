"""Where files lie: a path, or a URI of anything that pyarrow.fs knows (`s3://`, `gs://`, `file://`).

Not Azure's: its library in Arrow 25 ends the whole process when it finds no credentials.

The one place that turns such a text into a file system and a path in it, that says how long is
waited for a server, and that puts the errors of all of them into words. Knows nothing of jets.

An `s3://bucket/prefix` may be followed by `?region=`, `?scheme=` or `?endpoint_override=`; other
than AWS' own servers are also named by $AWS_ENDPOINT_URL_S3 or $AWS_ENDPOINT_URL. Credentials are
looked for where all programs of AWS and Google look for them, never in the URI.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from ucluster_tune.errors import DataError
from ucluster_tune.storage.error_words import in_words
from ucluster_tune.storage.whole_files import write_whole

_CONNECT_TIMEOUT_S: Final = 5.0
_SILENCE_TIMEOUT_S: Final = 20.0
_MAX_ATTEMPTS: Final = 4
_S3_OPTIONS: Final = ("region", "scheme", "endpoint_override")
_AZURE: Final = ("abfs", "abfss")
_GOOGLE: Final = ("gs", "gcs")
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_OBJECT_STORES: Final = ("s3", "gcs")  # an object appears there whole or not at all


@dataclass(frozen=True)
class Entry:
    """What a folder holds.

    Attributes:
        name: relative to the folder.
        is_file: whether it is no folder itself.
        n_bytes: of a file.
        modified_s: when a file was last written, as `Location.modified_s`.
    """

    name: str
    is_file: bool
    n_bytes: int
    modified_s: float


@dataclass(frozen=True)
class Location:
    """A file or folder, somewhere. A plain value: it can be sent to another process.

    Every method raises a `DataError` where the place cannot be used: a `MissingError` for what is
    not there, an `UnreachableError` where no server answers in time, and plain ones for a scheme
    that is not known, credentials that are missing or refused, and whatever else goes wrong.

    Attributes:
        text: an absolute path, or a URI without credentials.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Location":
        """Return what `name` means in this folder."""
        head, mark, query = self.text.partition("?") if self.is_uri else (self.text, "", "")
        return Location(f"{head.rstrip('/')}/{name}{mark}{query}")

    @property
    def is_uri(self) -> bool:
        """Whether this is no plain path."""
        return "://" in self.text

    @property
    def is_local(self) -> bool:
        """Whether it lies in this machine's own file system."""
        return not self.is_uri or self.text.startswith("file://")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.text.partition("?")[0] if self.is_uri else self.text).name

    @property
    def local_path(self) -> Path:
        """The path of a local file or folder."""
        assert self.is_local, f"{self.text} is not local"
        return Path(self._resolved()[1])

    def kind(self) -> str:
        """Return "file", "folder" or "missing"."""
        with self.using() as (filesystem, path):
            found = filesystem.get_file_info(path)
            if found.type == fs.FileType.NotFound:
                return "missing"
            return "file" if found.type == fs.FileType.File else "folder"

    def exists(self) -> bool:
        """Return whether there is a file or folder."""
        return self.kind() != "missing"

    def n_bytes(self) -> int:
        """Return the size of a file."""
        with self.using() as (filesystem, path):
            found = filesystem.get_file_info(path)
            if found.type == fs.FileType.NotFound:
                raise FileNotFoundError(path)
            return int(found.size or 0)

    def modified_s(self) -> float:
        """Return when a file was last written, in seconds since 1970 by the storage's clock."""
        with self.using() as (filesystem, path):
            found = filesystem.get_file_info(path)
            if found.type == fs.FileType.NotFound:
                raise FileNotFoundError(path)
            return float(found.mtime_ns or 0) * 1e-9

    def list(self, *, recursive: bool = False) -> tuple[Entry, ...]:
        """Return what a folder holds, by name; nothing where there is no such folder."""
        with self.using() as (filesystem, path):
            try:
                files = filesystem.get_file_info(fs.FileSelector(path, recursive=recursive))
            except FileNotFoundError as error:
                if self._lacks_bucket(error):
                    raise
                return ()
            return tuple(
                Entry(
                    name=os.path.relpath(found.path, path),
                    is_file=found.type == fs.FileType.File,
                    n_bytes=int(found.size or 0),
                    modified_s=float(found.mtime_ns or 0) * 1e-9,
                )
                for found in sorted(files, key=lambda f: f.path)
            )

    def open_input(self) -> pa.NativeFile:
        """Return a file to read from, at any place in it.

        What is read from it is best read inside of `reading()`.
        """
        with self.using() as (filesystem, path):
            return filesystem.open_input_file(path)

    def open_output(self) -> pa.NativeFile:
        """Return a stream that writes a file, which may stay half written where it breaks off.

        What is written to it is best written inside of `reading()`; folders are made as needed.
        """
        with self.using() as (filesystem, path):
            if filesystem.type_name not in _OBJECT_STORES:
                filesystem.create_dir(str(PurePosixPath(path).parent), recursive=True)
            return filesystem.open_output_stream(path)

    def read_bytes(self, max_bytes: int | None = None) -> bytes:
        """Return the contents of a file, or its first `max_bytes` bytes."""
        with self.using() as (filesystem, path), filesystem.open_input_stream(path) as stream:
            return bytes(stream.read(max_bytes))

    def write_bytes(self, contents: bytes) -> None:
        """Write a file, which appears whole or not at all; folders are made as needed."""
        with self.using() as (filesystem, path):
            if filesystem.type_name in _OBJECT_STORES:
                with filesystem.open_output_stream(path) as stream:
                    stream.write(contents)
            elif self.is_local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_whole(Path(path), contents)
            else:
                parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
                filesystem.create_dir(parent, recursive=True)
                temporary = f"{parent}/.{name}.part"
                with filesystem.open_output_stream(temporary) as stream:
                    stream.write(contents)
                filesystem.move(temporary, path)

    def delete(self) -> None:
        """Delete a file, or a folder and all in it; does nothing where there is none."""
        if self.is_uri and not PurePosixPath(self._resolved()[1]).parent.name:
            raise DataError(f"{self.text}: not deleted: this is a whole bucket or file system")
        with self.using() as (filesystem, path):
            kind = filesystem.get_file_info(path).type
            if kind == fs.FileType.File:
                filesystem.delete_file(path)
            elif kind == fs.FileType.Directory:
                filesystem.delete_dir(path)

    @contextmanager
    def using(self) -> Iterator[tuple[fs.FileSystem, str]]:
        """Give the file system and the path in it; errors inside come out as a `DataError`."""
        with self.reading():
            yield self._resolved()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn errors of Arrow and of the operating system into a `DataError` that names this."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise in_words(error, self.text, self._lacks_bucket(error)) from error

    def _resolved(self) -> tuple[fs.FileSystem, str]:
        scheme, is_uri, rest = self.text.partition("://")
        if not is_uri:
            return _local_filesystem(), self.text
        if scheme == "s3":
            path, _, query = rest.partition("?")
            return _s3_filesystem(path.partition("/")[0], query, _endpoint()), path
        if scheme in _GOOGLE:
            path, _, query = rest.partition("?")
            return _google_filesystem(path.partition("/")[0], query), path
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(self.text)
        return found

    def _lacks_bucket(self, error: Exception) -> str | None:
        """Return the name of the bucket if it is that which is missing, not what is in it."""
        if not (isinstance(error, FileNotFoundError) and self.text.startswith("s3://")):
            return None
        with suppress(pa.ArrowException, OSError):
            filesystem, path = self._resolved()
            bucket = path.partition("/")[0]
            if filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
                return bucket
        return None


def locate(place: "str | Path | Location") -> Location:
    """Return the location that a path or URI means; asks no server.

    Raises:
        DataError: the URI has no bucket, an unknown option, or credentials in it.
    """
    if isinstance(place, Location):
        return place
    if isinstance(place, Path) or "://" not in place:
        return Location(os.path.abspath(Path(place).expanduser()))  # noqa: PTH100 (follows no link)
    scheme, _, rest = place.partition("://")
    if scheme in _AZURE:
        raise DataError(f"{place}: {scheme}:// cannot be read; use a path, s3:// or gs://")
    head, mark, query = rest.partition("?")
    bucket, _, path = head.partition("/")
    if scheme == "file":
        return Location(place)
    if not bucket:
        raise DataError(f"{place}: names no bucket; write {scheme}://BUCKET/FOLDER")
    user, at, _ = bucket.rpartition("@")
    if at and ":" in user:
        raise DataError(
            f"{scheme}://...@{bucket.rpartition('@')[2]}/{path}: credentials do not belong into a"
            " path, which is written into logs; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
            " or what your storage uses, in the environment"
        )
    unknown = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    unknown = [name for name in unknown if scheme == "s3" and name not in _S3_OPTIONS]
    if unknown:
        raise DataError(
            f"{place}: unknown option {unknown[0]!r}; there are {', '.join(_S3_OPTIONS)}"
        )
    if ".." in path.split("/"):
        raise DataError(f"{place}: a path in a bucket cannot have .. in it")
    clean = "/".join([bucket, *(part for part in path.split("/") if part)])
    return Location(f"{scheme}://{clean}{mark}{query}")


def _endpoint() -> str | None:
    """Return what the environment says about where S3 is."""
    return next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)


@lru_cache(maxsize=1)
def _local_filesystem() -> fs.LocalFileSystem:
    return fs.LocalFileSystem()


@lru_cache(maxsize=16)
def _s3_filesystem(bucket: str, query: str, endpoint: str | None) -> fs.S3FileSystem:
    options = dict(parse_qsl(query))
    options.setdefault("endpoint_override", endpoint or "")
    if not options["endpoint_override"]:
        del options["endpoint_override"]
        options.setdefault("region", fs.resolve_s3_region(bucket))
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_SILENCE_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_MAX_ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, and an object at once
        **options,
    )


@lru_cache(maxsize=16)
def _google_filesystem(bucket: str, query: str) -> fs.FileSystem:
    if "retry_limit_seconds=" not in query:
        query += (
            f"{'&' if query else ''}retry_limit_seconds={_SILENCE_TIMEOUT_S * _MAX_ATTEMPTS:g}"
        )
    return fs.FileSystem.from_uri(f"gs://{bucket}?{query}")[0]
