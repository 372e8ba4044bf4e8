"""Says, before anything is installed, what this machine lacks and how to get it.

Runs with whatever Python a fresh machine has: standard library only, and syntax that Python 3.6
reads, so that an old Python gets a sentence and not a syntax error.
"""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from typing import Dict, List, Optional, Sequence, Tuple

PYTHONS = ((3, 11), (3, 12))  # on the first, all tests are run each time
WHY_THESE = "on 3.13 some tests fail"
GLIBC = (2, 28)  # what Arrow's and Ray's builds ask for
GCC_NEWEST = 13  # g++ 14 finds fault with the FlatBuffers in Horovod 0.28.1
GIB = 1024.0**3

# The environment was measured for "cpu", 2.7; the cache holds the same files, most of them linked,
# and Horovod's build, 0.5. "gpu" adds the CUDA libraries, from the sizes of their packages.
ENVIRONMENT_GIB = {"cpu": 3.0, "gpu": 9.0}
CACHE_GIB = {"cpu": 3.5, "gpu": 9.5}
TEMPORARY_GIB = 0.2

_PROGRAM = """
#include <memory>
#include <string>
int main() { return std::make_unique<std::string>("")->empty() ? 0 : 1; }
"""


def problems(extra: str, python: str) -> List[str]:
    """Return a sentence for each thing that is missing, with the way out."""
    found = [
        _platform_problem(),
        python_problem(python),
        compiler_problem(os.environ.get("CXX", "g++")),
        _make_problem(),
    ]
    return [problem for problem in found if problem] + disk_problems(extra, os.getcwd())


def _package(apt: str, dnf: str) -> str:
    return (
        f"install it with `apt install {apt}` (Debian, Ubuntu) or `dnf install {dnf}`"
        " (Fedora, RHEL)"
    )


def _platform_problem() -> Optional[str]:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        return (
            f"This is {system} on {machine}, and TensorFlow 2.20 with Horovod is built for Linux"
            " on x86_64: use such a machine or a container."
        )
    library, version = platform.libc_ver()
    if library != "glibc":
        return (
            "This system has no glibc, which TensorFlow and Ray are built for: use a distribution"
            " such as Debian 12 or RHEL 9, or a container of one."
        )
    if _numbers(version) < GLIBC:
        return f"glibc {version} is older than 2.28: use Debian 10, Ubuntu 20.04, RHEL 8 or newer."
    return None


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def candidates(python: str) -> List[str]:
    """Return the names under which a suitable Python may be found, best first."""
    if python:
        return [python]
    return [f"python{major}.{minor}" for major, minor in PYTHONS] + ["python3", "python"]


def python_version(python: str) -> Optional[Tuple[int, ...]]:
    """Return the version of a Python, or None where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        output = subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return _numbers(output.decode("ascii", "replace").strip())


def suitable_python(python: str) -> Optional[str]:
    """Return the path of the first candidate that is a Python of PYTHONS."""
    for name in candidates(python):
        if python_version(name) in PYTHONS:
            return shutil.which(name) or name
    return None


def python_problem(python: str) -> Optional[str]:
    """Return what is wrong with the Pythons of this machine."""
    if suitable_python(python) is not None:
        return None
    found = []
    for name in candidates(python):
        version = python_version(name)
        if version:
            found.append(f"{name} is {'.'.join(map(str, version))}")
    others = "and " + ", ".join(found) if found else "and none was found"
    return (
        f"Python 3.11 or 3.12 is needed ({WHY_THESE}), {others}:"
        f" {_package('python3.12 python3.12-venv', 'python3.12')}, or 3.11 where there is no 3.12;"
        " or name one with `make PYTHON=/path/to/python3.12`."
    )


def compiler_problem(compiler: str) -> Optional[str]:
    """Return what is wrong with the C++ compiler, which Horovod is built with."""
    remedy = _package("g++", "gcc-c++")
    if shutil.which(compiler) is None:
        return f"There is no C++ compiler ({compiler}), which Horovod is built with: {remedy}."
    folder = tempfile.mkdtemp(prefix="ucluster-tune-")
    try:
        source = os.path.join(folder, "empty.cc")
        with open(source, "w") as file:
            file.write(_PROGRAM)
        done = subprocess.Popen(
            [compiler, "-std=c++17", source, "-o", os.path.join(folder, "empty")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.communicate()[0].decode("utf-8", "replace").strip()
    except OSError as error:
        return f"The C++ compiler {compiler} does not run ({error}): {remedy}."
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == 0:
        return _too_new_compiler(compiler)
    lines = [line for line in output.splitlines() if "error" in line] or output.splitlines()
    says = lines[0].strip() if lines else "it says nothing"
    return f"The C++ compiler {compiler} cannot build a C++17 program ({says}): {remedy}."


def _too_new_compiler(compiler: str) -> Optional[str]:
    try:
        asked = [compiler, "-dM", "-E", "-x", "c++", os.devnull]
        macros = subprocess.check_output(asked, stderr=subprocess.DEVNULL).decode()
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"#define __GNUC__ (\d+)", macros)
    if "#define __clang__" in macros or not found or int(found.group(1)) <= GCC_NEWEST:
        return None
    return (
        f"The C++ compiler {compiler} is g++ {found.group(1)}, which refuses a header that"
        f" Horovod brings along: {_package('g++-13', 'gcc13-c++')}, and name it with"
        " `CC=gcc-13 CXX=g++-13 make install`."
    )


def _make_problem() -> Optional[str]:
    if shutil.which("make"):
        return None
    return f"There is no make, which Horovod is built with: {_package('make', 'make')}."


def disk_problems(extra: str, checkout: str) -> List[str]:
    """Return a sentence for each file system with too little space."""
    needs = [(tempfile.gettempdir(), TEMPORARY_GIB, "TMPDIR")]
    if not os.path.isdir(os.path.join(checkout, ".venv", "lib")):
        needs.append((checkout, ENVIRONMENT_GIB[extra], "this folder"))
        needs.append((_cache_folder(), CACHE_GIB[extra], "UV_CACHE_DIR"))
    by_device: Dict[int, List[Tuple[str, float, str]]] = {}
    for folder, gib, name in needs:
        existing = _existing(folder)
        by_device.setdefault(os.stat(existing).st_dev, []).append((existing, gib, name))
    found = []
    for wanted in by_device.values():
        free = shutil.disk_usage(wanted[0][0]).free / GIB
        # Files of the environment are links to the cache's where both lie on one file system.
        needed = max(gib for _, gib, _ in wanted)
        if free < needed:
            found.append(_disk_sentence(wanted, free, needed))
    return found


def _disk_sentence(wanted: Sequence[Tuple[str, float, str]], free: float, needed: float) -> str:
    places = " and ".join(f"{folder} ({name})" for folder, _, name in wanted)
    variables = " and ".join(name for _, _, name in wanted if name.isupper())
    elsewhere = f", or set {variables} to folders on a larger disk" if variables else ""
    return (
        f"{free:.1f} GiB are free and about {needed:.1f} GiB are needed at {places}:"
        f" free some space{elsewhere}."
    )


def _cache_folder() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("UV_CACHE_DIR") or os.path.join(home, "uv")


def _existing(folder: str) -> str:
    """Return the folder, or the nearest above it that exists."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder
