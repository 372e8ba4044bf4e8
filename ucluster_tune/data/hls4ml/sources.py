"""Finds HLS4ML files: HDF5, one or a folder of them, the archives that Zenodo has, or the mirror.

Archives are read once from front to end, and one member at a time lies unpacked on disk, under a
name of our own.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from ucluster_tune.data.hls4ml.jets import check_file
from ucluster_tune.data.hls4ml.layout import is_hdf5, refuse_unlabelled
from ucluster_tune.data.hls4ml.mirror import SUFFIX, count_jets, is_mirror
from ucluster_tune.data.recognition import ARCHIVE_ENDINGS, HDF5_ENDINGS, HDF5_SIGNATURE
from ucluster_tune.errors import DataError, MachineError

OnBytes = Callable[[int], None]

_MEND: Final = "download or copy it again from where it came"
_NAME_ONE: Final = (
    "name an HLS4ML HDF5 file, a folder of them, their tar from Zenodo, or the parquet mirror of"
    " the 150-particle jets"
)
_LFS_POINTER: Final = b"version https://git-lfs"
_COPY_BYTES: Final = 1 << 20
_MAX_GLANCE: Final = 10_000


@dataclass(frozen=True)
class SourceFile:
    """An HDF5 file, an archive of them, or a parquet file of the mirror.

    Attributes:
        path: where it is.
        is_archive: whether HDF5 files are in it.
        n_bytes: its size.
        is_parquet: whether it is of the mirror.
    """

    path: Path
    is_archive: bool
    n_bytes: int
    is_parquet: bool = False


@dataclass(frozen=True)
class Hdf5File:
    """One HDF5 file that can be opened.

    Attributes:
        path: where it is; of an archive's member, only until the next one is asked for, unless it
            is moved away.
        name: its own name, without folders, the same inside and outside of an archive.
        label: what errors call it.
    """

    path: Path
    name: str
    label: str


def find_source_files(source: Path) -> tuple[SourceFile, ...]:
    """Return the HDF5 files or archives that `source` names: one file, or a folder of them.

    A folder is searched to any depth, without hidden files.

    Raises:
        DataError: nothing is there, or something else, or both HDF5 files and archives, which
            may hold the same jets.
    """
    try:
        if source.is_file():
            return (_source_file(source),)
        if source.is_dir():
            return _files_of_folder(source)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    kind = "this is neither a file nor a folder" if source.exists() else "no such file or folder"
    raise DataError(f"{source}: {kind}; {_NAME_ONE}")


def is_source(path: Path) -> bool:
    """Tell, by a glance, whether a path is HDF5, an archive, or a folder with such files."""
    try:
        if path.is_dir():
            some = islice(_visible_files(path), _MAX_GLANCE)  # it might be a whole disk
            return any(_is_source_file(file) for file in some)
        return path.is_file() and (_is_source_file(path) or _starts_as_hdf5(path))
    except OSError:
        return False


def _is_source_file(path: Path) -> bool:
    kind = _kind_by_name(path)
    return is_mirror(path) if kind == "parquet" else kind is not None


def hdf5_files(
    files: tuple[SourceFile, ...], scratch: Path, on_bytes: OnBytes
) -> Iterator[Hdf5File]:
    """Yield all HDF5 files, those of archives unpacked one by one.

    Args:
        files: as found by `find_source_files`.
        scratch: empty folder for one unpacked file.
        on_bytes: called with the number of bytes of `files` read since the last call; for HDF5
            files outside of archives the caller counts.

    Raises:
        DataError: an archive is damaged, or not harmless.
        MachineError: no space to unpack a file.
    """
    for file in files:
        if file.is_archive:
            yield from _members(file, scratch, on_bytes)
        else:
            yield Hdf5File(file.path, file.path.name, str(file.path))


def check_hdf5_files(files: tuple[SourceFile, ...], *, needs_classes: bool = True) -> None:
    """Look at all files to convert that are not in archives, so that a wrong one is found at once.

    Raises:
        DataError: one is damaged, no HLS4ML file, or its jets lack classes that are needed.
    """
    for file in files:
        if file.is_parquet:
            count_jets(file.path, str(file.path))
        elif not file.is_archive:
            layout = check_file(file.path, str(file.path))
            refuse_unlabelled(layout, str(file.path), needs_classes=needs_classes)


def _visible_files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder; links to files that are gone are among them."""

    def fail(error: OSError) -> None:
        raise error  # a folder passed over in silence would be jets that are missing

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _kind_by_name(path: Path) -> str | None:
    if path.suffix.lower() in HDF5_ENDINGS:
        return "HDF5"
    if path.suffix.lower() == SUFFIX:
        return "parquet"
    return "archive" if path.name.lower().endswith(ARCHIVE_ENDINGS) else None


def _starts_as_hdf5(path: Path) -> bool:
    with path.open("rb") as stream:
        return is_hdf5(stream.read(len(HDF5_SIGNATURE)))


def _source_file(path: Path) -> SourceFile:
    n_bytes = path.stat().st_size
    if _starts_as_hdf5(path):
        return SourceFile(path, False, n_bytes)
    kind = _kind_by_name(path)
    if kind == "archive":
        return SourceFile(path, True, n_bytes)
    if kind == "parquet":
        return SourceFile(path, False, n_bytes, is_parquet=True)
    if kind:
        with path.open("rb") as stream:
            is_pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
        if is_pointer:
            raise DataError(
                f"{path}: a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
            )
        raise DataError(f"{path}: damaged: it does not start as HDF5 does; {_MEND}")
    raise DataError(f"{path}: no HDF5 file and no tar; {_NAME_ONE}")


def _files_of_folder(folder: Path) -> tuple[SourceFile, ...]:
    is_dataset = (folder / "manifest.json").is_file()
    files = tuple(
        _source_file(path)
        for path in sorted(_visible_files(folder))
        if _kind_by_name(path) and not (is_dataset and _kind_by_name(path) == "parquet")
    )
    if not files:
        ending = (
            "; it is a parquet data set already: name it as data.path"
            if is_dataset
            else f"; {_NAME_ONE}"
        )
        raise DataError(f"{folder}: no HDF5 files and no tar in this folder{ending}")
    if len({file.is_parquet for file in files}) > 1:
        raise DataError(
            f"{folder}: has parquet files and others, which may hold the same jets; name one of"
            " them, or a folder that has one kind"
        )
    if len({file.is_archive for file in files}) > 1:
        archive = next(file.path for file in files if file.is_archive)
        raise DataError(
            f"{folder}: has HDF5 files and archives ({archive.name}), which may hold the same"
            " jets; name one of them, or a folder that has one kind"
        )
    return files


class _Watched:
    """A stream that remembers whether it ended in zeros, as an archive that is whole does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if data:
            self.tail = (self.tail + data)[-tarfile.BLOCKSIZE :]
        return data


def _members(file: SourceFile, scratch: Path, on_bytes: OnBytes) -> Iterator[Hdf5File]:
    label = str(file.path)
    n_found = n_read = 0
    with _archive_errors(label), file.path.open("rb") as raw, _unpacked(raw, label) as stream:
        watched = _Watched(stream)
        readable = cast(IO[bytes], watched)  # read() is all that "r|" needs
        with tarfile.open(fileobj=readable, mode="r|") as tar:
            for member in tar:
                path = _unpack(tar, member, scratch, label)
                if path is None:
                    continue
                n_found += 1
                name = PurePosixPath(member.name).name
                yield Hdf5File(path, name, f"{label}: {member.name}")
                path.unlink(missing_ok=True)
                on_bytes(raw.tell() - n_read)
                n_read = raw.tell()
            while watched.read(_COPY_BYTES):
                pass  # the checksum of a compressed archive is at its end
        if watched.tail.strip(b"\0"):
            raise tarfile.ReadError("it was cut short")
        on_bytes(raw.tell() - n_read)
    if not n_found:
        raise DataError(f"{label}: no HDF5 files in this archive")


def _unpack(
    tar: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path, label: str
) -> Path | None:
    """Return a member as a file of our own; None for folders and other things than HDF5."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"{label}: {member.name!r} leads out of the archive; it is not unpacked")
    is_wanted = name.suffix.lower() in HDF5_ENDINGS and not name.name.startswith(".")
    if not is_wanted:
        return None
    if not member.isreg() or member.issparse():
        raise DataError(f"{label}: {member.name} is a link or no plain file; {_MEND}")
    n_free = shutil.disk_usage(scratch).free
    if member.size > n_free:
        raise MachineError(
            f"{label}: {member.name} has {member.size} bytes, and {n_free} are free at"
            f" {scratch.parent}; free some space, or choose a folder on another disk"
        )
    stream = tar.extractfile(member)
    assert stream is not None  # a plain file
    start = stream.read(len(HDF5_SIGNATURE))
    if not is_hdf5(start):
        raise DataError(f"{label}: {member.name} does not start as HDF5 does; {_MEND}")
    path = scratch / "member.h5"
    data = start
    with path.open("wb") as out:
        while data:
            try:
                out.write(data)
                out.flush()
            except OSError as error:
                raise MachineError(
                    f"{path}: {member.name} of {label} cannot be unpacked: {error.strerror};"
                    " free some space, or choose a folder on another disk"
                ) from error
            data = stream.read(_COPY_BYTES)
    return path


@contextmanager
def _unpacked(raw: IO[bytes], label: str) -> Iterator[IO[bytes]]:
    """Give the stream of an archive as it was before compression.

    tarfile would do this too, but takes a compressed archive that was cut short for whole.
    """
    start = raw.read(6)
    raw.seek(0)
    with ExitStack() as stack:
        stream: Any = raw
        if start.startswith(b"\x1f\x8b"):
            stream = stack.enter_context(gzip.GzipFile(fileobj=raw))
        elif start.startswith(b"BZh"):
            stream = stack.enter_context(bz2.BZ2File(raw))
        elif start == b"\xfd7zXZ\0":
            stream = stack.enter_context(lzma.LZMAFile(raw))
        yield stream


@contextmanager
def _archive_errors(label: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{label}: a damaged archive: {error}; {_MEND}") from error
    except OSError as error:
        raise DataError(f"{label}: cannot be read: {error.strerror or error}") from error


def side_by_side(
    files: tuple[SourceFile, ...], scratch: Path, on_bytes: OnBytes
) -> tuple[Hdf5File, ...]:
    """Return all HDF5 files, those of archives unpacked.

    They come archive by archive, in each in the order of their names: the order in which they
    would be found where somebody had unpacked the archive.

    Args:
        files: as found by `find_source_files`.
        scratch: empty folder for what is unpacked; it stays as long as the files are needed.
        on_bytes: called with the number of bytes of archives read since the last call.

    Raises:
        DataError: an archive is damaged, or not harmless.
        MachineError: no space to unpack it.
    """
    found: list[Hdf5File] = []
    for file in files:
        if not file.is_archive:
            found += hdf5_files((file,), scratch, on_bytes)
            continue
        members: list[Hdf5File] = []
        for member in hdf5_files((file,), scratch, on_bytes):
            kept = scratch / f"{len(found) + len(members):06d}.h5"
            member.path.rename(kept)
            members.append(Hdf5File(kept, member.name, member.label))
        found += sorted(members, key=lambda member: PurePosixPath(member.label))
    return tuple(found)
