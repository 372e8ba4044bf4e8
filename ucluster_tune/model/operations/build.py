"""Builds the fused operations: at installation, or when they are first needed.

A library's name holds a key of all that it was made from and for: the sources, the TensorFlow, the
compiler's options and, unless it is portable, the processor. So one that is stale or comes from
another machine is never loaded, and several live side by side where a folder is shared.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import tensorflow as tf
from filelock import FileLock, Timeout

from ucluster_tune.storage.whole_files import cannot_be_written, whole

_SOURCES = Path(__file__).parent / "csrc"
# Part of what -ffast-math does for a source. Never that itself, nor any of it when linking: GCC
# then switches subnormal numbers off for the whole process.
_OPTIONS = (
    "-shared",
    "-fPIC",
    "-O3",
    "-w",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
)
_NATIVE, _PORTABLE = "-march=native", "-march=x86-64-v3"
_BUILD_TIMEOUT_S = 300.0


class UnusableLibraryError(Exception):
    """Why this process cannot have the fused operations."""


def built_library() -> Path:
    """Return the library for this machine: of the installation, or built now.

    Raises:
        UnusableLibraryError: there is none, and none can be built.
    """
    names = [_name(_NATIVE), _name(_PORTABLE)]
    for folder in _folders():
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return build(portable=False)


def build(portable: bool) -> Path:
    """Build the library and return its path.

    Args:
        portable: for any x86-64 processor since 2013 (AVX2), such as an image is made for, in
            place of this machine's.

    Raises:
        UnusableLibraryError: there is no compiler, no folder, or the compiler failed.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if not compiler:
        raise UnusableLibraryError("there is no g++ to build the fused ones with; install g++")
    option = _PORTABLE if portable else _NATIVE
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return _build_in(folder, compiler, option)
    raise UnusableLibraryError(f"none of {', '.join(map(str, _folders()))} can be written")


def _build_in(folder: Path, compiler: str, option: str) -> Path:
    library = folder / _name(option)
    try:
        with FileLock(library.with_suffix(".lock"), timeout=_BUILD_TIMEOUT_S):
            if not library.exists():  # another process may have been faster
                _compile(compiler, option, library)
    except Timeout:
        raise UnusableLibraryError(
            f"another process has been building {library} for {_BUILD_TIMEOUT_S:g} s"
        ) from None
    return library


def _compile(compiler: str, option: str, library: Path) -> None:
    try:
        with whole(library) as temporary:
            _run_compiler(compiler, option, temporary)
    except OSError as error:
        raise UnusableLibraryError(cannot_be_written(library, error)) from error


def _run_compiler(compiler: str, option: str, target: Path) -> None:
    command = [
        compiler,
        *_OPTIONS,
        option,
        *tf.sysconfig.get_compile_flags(),
        *sorted(map(str, _SOURCES.glob("*.cc"))),
        "-o",
        str(target),
        *tf.sysconfig.get_link_flags(),
    ]
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_BUILD_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line.lower()]
        raise UnusableLibraryError(
            f"{compiler} failed: {(lines or ['without a word'])[0]}"
        ) from error
    except OSError as error:
        raise UnusableLibraryError(f"{compiler} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise UnusableLibraryError(f"{compiler} took more than {error.timeout:g} s") from error


def _folders() -> list[Path]:
    """Return where a library may lie: with the sources, else in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return [_SOURCES, cache / "ucluster-tune"]


def _name(option: str) -> str:
    key = hashlib.sha256()
    for source in sorted(_SOURCES.glob("*.*")):
        if source.suffix in (".cc", ".h"):
            key.update(source.read_bytes())
    for part in (tf.__version__, *_OPTIONS, option, str(tf.sysconfig.CXX11_ABI_FLAG)):
        key.update(part.encode())
    if option == _NATIVE:
        key.update(_processor().encode())
    return f"fused-{key.hexdigest()[:16]}.so"


def _processor() -> str:
    """Return what the processor can do, as Linux lists it."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="ascii") as lines:
        return next((line for line in lines if line.startswith("flags")), "")
    return ""
