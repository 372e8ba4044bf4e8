"""`make install`: checks the machine, gets uv where it is missing, and installs into .venv.

Standard library only, and syntax that Python 3.6 reads; see preflight.py.
"""

import argparse
import os
import shutil
import subprocess
import sys
from typing import List, Optional, Tuple

import preflight

UV_VERSION = "0.13.9"
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
UV_OLDEST = (0, 9)  # as pyproject.toml's required-version


def main() -> int:
    """Installs; returns the exit status."""
    parser = argparse.ArgumentParser(description="Install ucluster-tune into .venv.")
    parser.add_argument("--extra", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--python", default="", help="a Python 3.11 or 3.12")
    parser.add_argument("--tools", action="store_true", help="what tests and linters need too")
    parser.add_argument("--check-only", action="store_true", help="install nothing")
    options = parser.parse_args()

    found = preflight.problems(options.extra, options.python)
    python = preflight.suitable_python(options.python)
    uv = find_uv()
    if python and not uv and not _can_fetch(python):
        found.append(
            f"{python} has neither venv nor pip, and uv is not there: install one of them with"
            " `apt install python3-venv` (Debian, Ubuntu) or `dnf install python3-pip`"
            " (Fedora, RHEL)."
        )
    if found or python is None:
        for problem in found:
            sys.stderr.write("Error: " + problem + "\n")
        return 1
    if options.check_only:
        return 0
    return _sync(uv or _fetch_uv(python), python, options.extra, options.tools)


def find_uv() -> Optional[str]:
    """Return a uv that is new enough: the one fetched before, or the machine's own."""
    for place in (".uv/bin/uv", ".uv/lib/bin/uv", shutil.which("uv")):
        if place and os.path.exists(place) and _uv_version(place) >= UV_OLDEST:
            return place
    return None


def _uv_version(uv: str) -> Tuple[int, ...]:
    try:
        words = subprocess.check_output([uv, "--version"], stderr=subprocess.DEVNULL).split()
        return tuple(int(part) for part in words[1].decode().split(".")[:2])
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return ()


def _has_modules(python: str, *modules: str) -> bool:
    return _quiet([python, "-c", "import " + ", ".join(modules)]) == 0


def _can_fetch(python: str) -> bool:
    return _has_modules(python, "venv", "ensurepip") or _has_modules(python, "pip")


def _quiet(command: List[str]) -> int:
    with open(os.devnull, "wb") as nothing:
        return subprocess.call(command, stdout=nothing, stderr=nothing)


def _fetch_uv(python: str) -> str:
    """Installs uv into .uv and returns its path."""
    sys.stderr.write(f"Fetching uv {UV_VERSION} with pip into .uv\n")
    shutil.rmtree(".uv", ignore_errors=True)
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    requirement = "uv==" + UV_VERSION
    if _has_modules(python, "venv", "ensurepip"):
        subprocess.check_call([python, "-m", "venv", ".uv"])
        command, uv = [".uv/bin/python"] + pip + [requirement], ".uv/bin/uv"
    else:
        # Debian without python3-venv. A target folder is allowed where pip may not install.
        command, uv = [python] + pip + ["--target", ".uv/lib", requirement], ".uv/lib/bin/uv"
    if subprocess.call(command) != 0:
        shutil.rmtree(".uv", ignore_errors=True)
        sys.exit(
            "Error: pip could not fetch uv, see above. Check the network and pip's settings, or"
            " install uv by hand: https://docs.astral.sh/uv/"
        )
    return uv


def _sync(uv: str, python: str, extra: str, with_tools: bool) -> int:
    """Make .venv hold exactly what uv.lock says."""
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)  # another environment that happens to be active
    environment["UV_PROJECT_ENVIRONMENT"] = ".venv"
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    # Every trial starts processes that import TensorFlow: from byte code in a third of the time.
    environment["UV_COMPILE_BYTECODE"] = "1"
    # Another installation may be compiling Horovod, which this one then takes over.
    environment.setdefault("UV_LOCK_TIMEOUT", "1800")
    if any(os.path.exists(bundle) for bundle in CERTIFICATES):
        # As curl and git do: a site behind a proxy has its own authorities there. Older and
        # newer versions of uv read one of these names each.
        environment.setdefault("UV_SYSTEM_CERTS", "true")
        environment.setdefault("UV_NATIVE_TLS", "true")
    command = [
        uv,
        "sync",
        "--frozen",
        "--extra",
        extra,
        "--extra",
        "simulate",
        "--extra",
        "postgresql",
    ]
    if not with_tools:
        command.append("--no-dev")
    status = subprocess.call(command + ["--python", python], env=environment)
    if status != 0:
        sys.stderr.write("Error: uv could not install, see above; `make install` goes on there.\n")
    else:
        # Where they cannot be built, trainings use stock operations, and it says so.
        environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
        program = [".venv/bin/python", "-m", "ucluster_tune.model.operations"]
        subprocess.call(program, env=environment)
        sys.stderr.write(
            "Installed into .venv. Next: `make quickstart`, or `source .venv/bin/activate` and"
            " `ucluster-tune --help`\n"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
