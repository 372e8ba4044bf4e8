"""Files and folders on a disk that appear whole or not at all, and what to say where they cannot.

Everything is written under a temporary name beside its target, flushed, and renamed; then the
folder that has the new name is flushed too, so that it survives a power cut.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ucluster_tune.errors import UClusterTuneError

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FLUSH: Final = (errno.EINVAL, errno.ENOTSUP)  # of folders, on some network file systems


def write_whole(path: Path, contents: bytes | str) -> None:
    """Write a file, of which others see the old contents or the new ones; text becomes UTF-8.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    with whole(path) as temporary:
        temporary.write_bytes(contents.encode() if isinstance(contents, str) else contents)


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give the path of a file or folder to be made, which gets its name when the block ends well.

    Raises:
        OSError: it cannot be flushed or renamed; nothing of it stays then.
    """
    temporary = beside(target)
    try:
        yield temporary
        publish(temporary, target)
    finally:
        discard(temporary)


def beside(target: Path) -> Path:
    """Return a temporary name for a target, in the same folder and with the same ending."""
    return target.with_name(f".{target.stem}.part-{secrets.token_hex(4)}{target.suffix}")


def publish(temporary: Path, target: Path) -> None:
    """Flush a complete file or folder, and give it its name; a file of that name is replaced.

    Raises:
        OSError: it cannot be done, or the target is a folder that is not empty.
    """
    if temporary.is_dir():
        for folder, _, names in os.walk(temporary):
            for name in names:
                _flush(Path(folder, name))
            flush_folder(Path(folder))
    else:
        _flush(temporary)
    temporary.replace(target)
    flush_folder(target.parent)


def discard(temporary: Path) -> None:
    """Remove what was not published; does nothing where there is nothing."""
    with suppress(OSError):  # must not hide why it came to this
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where its file system knows how to."""
    try:
        _flush(folder)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(
    target: Path | str, kind: type[UClusterTuneError], ending: str = ""
) -> Iterator[None]:
    """Raise an error of this kind, in words, where the block fails to write to `target`."""
    try:
        yield
    except OSError as error:
        raise kind(f"{cannot_be_written(target, error)}{ending}") from error


def cannot_be_written(path: Path | str, error: OSError) -> str:
    """Return what to tell of a file or folder that cannot be written, and what to do.

    >>> cannot_be_written("a.ckpt", OSError(errno.ENOSPC, "No space left on device"))
    'a.ckpt: cannot be written: No space left on device; free some space'
    """
    if error.errno in _NO_SPACE:
        remedy = "free some space"
    elif error.errno == errno.EROFS:
        remedy = "make it writable again, or choose another folder"
    else:
        remedy = "choose a folder that can be written"
    return f"{path}: cannot be written: {reason(error)}; {remedy}"


def cannot_be_read(path: Path | str, error: OSError) -> str:
    """Return what to tell of a file that cannot be read."""
    return f"{path}: cannot be read: {reason(error)}"


def reason(error: OSError) -> str:
    """Return the system's own words for a failure."""
    return str(error.strerror or error)


def takes_nothing(error: BaseException) -> bool:
    """Return whether an error says that a storage takes no more: full, over a quota, read-only."""
    return isinstance(error, OSError) and error.errno in (*_NO_SPACE, errno.EROFS)


def refuse_unwritable(path: Path, kind: type[UClusterTuneError]) -> None:
    """Raise an error of this kind where no file can be made in the folder of `path`.

    A folder that is not there is made.
    """
    probe = beside(path)
    with explained(path, kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
