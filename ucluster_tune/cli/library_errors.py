"""The one place that turns what libraries and the system raise at any start into a told error.

Errors that were foreseen are `UClusterTuneError`s where they arise. What is here can come from any
library at any time: a limit of the machine, a name that no file can have, no home folder.
"""

import errno
import os
import resource
from typing import Final

_REPORT: Final = (
    "This is a fault of ucluster-tune, not of what you typed: please report it with all of the"
    " above and the command."
)
_REMEDIES: Final = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "choose a place that you may use, or change its permissions",
    errno.EPERM: "choose a place that you may use, or change its permissions",
    errno.EROFS: "choose a place that can be written",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.ELOOP: "its links lead in a circle: mend them",
    errno.EIO: "the disk or its network fails: try again, or choose another place",
    errno.ESTALE: "its server has forgotten it: mount it again",
    errno.ENOTDIR: "part of the path is a file: check it",
}


def in_words(error: BaseException) -> str | None:
    """Return an error in words, with the way out; None for a fault of this program.

    >>> in_words(OSError(errno.ENAMETOOLONG, "File name too long", "a.yaml"))
    'a.yaml: cannot be used: File name too long; choose a shorter name'
    >>> in_words(KeyError("a")) is None
    True
    """
    link: BaseException | None = error
    while link is not None:  # causes alone: a context is often an error that was dealt with
        words = _about_machine(link) or _about_path(link)
        if words is not None:
            return words
        link = link.__cause__
    return None


def mark_as_fault(error: BaseException) -> None:
    """Have the traceback of an error end with whose fault it is."""
    error.add_note(_REPORT)


def _about_machine(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return (
            "this machine's memory is used up: close other programs, or choose smaller batches"
            " (training.global_batch_size) or fewer trials at a time"
        )
    if "can't start new thread" in str(error) or isinstance(error, BlockingIOError):
        return (
            "the system lets this user start no more processes and threads (ulimit -u is"
            f" {_limit(resource.RLIMIT_NPROC)}): end some, or raise the limit with `ulimit -u`"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            "the system lets this process open no more files (ulimit -n is"
            f" {_limit(resource.RLIMIT_NOFILE)}): raise the limit with `ulimit -n`"
        )
    return None


def _about_path(error: BaseException) -> str | None:
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return (
            "a path begins with ~, and the system knows no such home folder (HOME is"
            f" {os.environ.get('HOME') or 'not set'}): write the path in full, or set HOME"
        )
    if not isinstance(error, OSError):
        return None
    if "No usable temporary directory" in str(error):
        return (
            "no folder for temporary files can be written (TMPDIR is"
            f" {os.environ.get('TMPDIR') or 'not set'}): set TMPDIR to one that can"
        )
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None or error.filename is None:
        return None
    return f"{_short(error.filename)}: cannot be used: {error.strerror}; {remedy}"


def _limit(which: int) -> str:
    limit = resource.getrlimit(which)[0]
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _short(path: object) -> str:
    text = os.fsdecode(path) if isinstance(path, bytes) else str(path)
    return text if len(text) <= 200 else f"{text[:80]} ... {text[-80:]}"
