"""The installer says at the start what a machine lacks; really run, with a PATH that lacks it."""

import ast
import os
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
TOOLS = (
    "g++",
    "make",
    "ld",
    "as",
    "cc1plus",
    "sh",
    "env",
    "awk",
    "rm",
    "touch",
    "dirname",
    "uname",
)


@pytest.fixture
def machine(tmp_path):
    """A folder for PATH that holds a working Python and links to a few tools, without uv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    put_program(folder / "python3.11", f'exec {sys.executable} "$@"')
    (tmp_path / ".venv" / "lib").mkdir(parents=True)  # whatever space there is here will do
    return folder


def put_program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def install(machine, *arguments, **environment):
    """Runs the installer's checks on a machine."""
    return subprocess.run(
        [sys.executable, SCRIPTS / "install.py", "--check-only", *arguments],
        capture_output=True,
        check=False,
        text=True,
        cwd=machine.parent,
        env={"PATH": str(machine), **environment},
    )


def sentence(result):
    """The one sentence that a refused installation prints."""
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def preflight(monkeypatch):
    """The module of the checks."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import preflight

    return preflight


@pytest.mark.parametrize("script", ["preflight.py", "install.py"])
def test_the_scripts_are_read_by_python_3_6_and_need_only_the_standard_library(script):
    tree = ast.parse((SCRIPTS / script).read_text(), feature_version=(3, 6))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {str(node.module)}
        else:
            continue
        assert names <= {*sys.stdlib_module_names, "preflight"}
        assert "__future__" not in names  # annotations came with 3.7


def test_a_complete_machine_passes(machine):
    result = install(machine)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_compiler_is_named_with_the_way_out(machine):
    (machine / "g++").unlink()
    text = sentence(install(machine))
    assert "no C++ compiler (g++)" in text
    assert "apt install g++" in text
    assert "dnf install gcc-c++" in text


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'fatal error: string: No such file' >&2; exit 1", "fatal error: string"),
        ("exit 1", "it says nothing"),
    ],
)
def test_a_compiler_that_does_not_work_is_named_with_what_it_says(machine, script, words):
    (machine / "g++").unlink()
    put_program(machine / "g++", script)
    text = sentence(install(machine))
    assert "cannot build a C++17 program" in text
    assert words in text


def test_the_compiler_may_be_another(machine):
    (machine / "g++").rename(machine / "my-compiler")
    assert install(machine, CXX="my-compiler").returncode == 0
    assert "no C++ compiler (yours)" in sentence(install(machine, CXX="yours"))


def test_a_compiler_newer_than_horovod_is_named(machine):
    (machine / "g++").unlink()
    found = shutil.which("g++")
    newer = "echo '#define __GNUC__ 14'"
    put_program(machine / "g++", f'case "$*" in *-dM*) {newer} ;; *) exec {found} "$@" ;; esac')
    text = sentence(install(machine))
    assert "is g++ 14, which refuses a header that Horovod brings along" in text
    assert "CXX=g++-13 make install" in text


def test_no_make_is_named(machine):
    (machine / "make").unlink()
    assert "There is no make" in sentence(install(machine))


def test_a_wrong_python_is_named_with_its_version(machine):
    (machine / "python3.11").unlink()
    put_program(machine / "python3", "echo 3.13")
    text = sentence(install(machine))
    assert "Python 3.11 or 3.12 is needed (on 3.13 some tests fail)" in text
    assert "python3 is 3.13" in text
    assert "apt install python3.12" in text


@pytest.mark.parametrize("name", ["python3.12", "python3"])
def test_python_3_12_will_do(machine, name):
    (machine / "python3.11").unlink()
    put_program(
        machine / name,
        f'case "$2" in *version_info*) echo 3.12 ;; *) exec {sys.executable} "$@" ;; esac',
    )
    assert install(machine).returncode == 0


def test_the_pythons_that_are_taken_are_those_of_the_lock_file(preflight):
    """The scripts cannot read TOML: they run on Pythons older than its reader."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11,<3.13"
    assert preflight.PYTHONS == ((3, 11), (3, 12))


def test_a_python_that_does_not_start_is_passed_over(machine):
    """As pyenv's stand-ins for versions that are not chosen."""
    (machine / "python3.11").rename(machine / "python3")
    put_program(machine / "python3.11", "exit 127")
    assert install(machine).returncode == 0


def test_the_python_that_is_named_is_the_one_checked(machine):
    assert "none was found" in sentence(install(machine, "--python", "/nowhere/python"))
    put_program(machine / "old", "echo 3.8")
    assert "old is 3.8" in sentence(install(machine, "--python", "old"))


def test_a_python_without_venv_and_pip_is_named(machine):
    script = f'case "$2" in *ensurepip*|*pip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac'
    put_program(machine / "python3.11", script)
    assert "has neither venv nor pip" in sentence(install(machine))
    put_program(machine / "uv", "echo uv 0.9.1")
    assert install(machine).returncode == 0
    put_program(machine / "uv", "echo uv 0.8.9")
    assert "has neither venv nor pip" in sentence(install(machine))


def test_all_that_is_missing_is_named_at_once(machine):
    for tool in ("g++", "make", "python3.11"):
        (machine / tool).unlink()
    result = install(machine)
    assert result.returncode == 1
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["Error:"] * 3


def test_make_says_it_where_there_is_no_python_at_all(machine, tmp_path):
    (machine / "python3.11").unlink()
    for file in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / file, tmp_path)
    done = subprocess.run(
        [machine / "make", "install"],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        env={"PATH": str(machine)},
    )
    assert done.returncode != 0
    assert done.stderr.startswith("Error: Python 3.11 or 3.12 is needed and was not found")
    assert not (tmp_path / ".venv" / ".installed-cpu").exists()


def test_searches_are_installed_without_the_tools_that_tests_need(machine, tmp_path):
    for file in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / file, tmp_path)
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    asked = tmp_path / "asked"
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir()
    for program in ("python", "ruff", "ucluster-tune"):
        put_program(programs / program, "exit 0")
    put_program(machine / "uv", f'echo "$@" >> {asked}; echo "uv 0.13.9"')

    def synced(target):
        asked.unlink(missing_ok=True)
        subprocess.run(
            [machine / "make", target], check=True, cwd=tmp_path, env={"PATH": str(machine)}
        )
        lines = asked.read_text().splitlines() if asked.exists() else []
        return ["--no-dev" in line for line in lines if line.startswith("sync")]

    assert synced("quickstart") == [True]
    assert synced("lint") == [False]
    assert synced("quickstart") == synced("lint") == synced("install") == []


DiskUsage = namedtuple("DiskUsage", "total used free")


def test_too_little_disk_is_named_with_both_numbers(preflight, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 0, 2**30))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "not" / "there" / "yet"))
    (found,) = preflight.disk_problems("cpu", str(tmp_path))
    assert "1.0 GiB are free and about" in found
    assert str(tmp_path) in found
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 0, 50 * 2**30))
    assert preflight.disk_problems("gpu", str(tmp_path)) == []


def test_an_environment_that_is_there_needs_no_room_again(preflight, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 0, 2**30))
    (tmp_path / ".venv" / "lib").mkdir(parents=True)
    assert preflight.disk_problems("cpu", str(tmp_path)) == []


@pytest.mark.parametrize(
    ("system", "machine_type", "libc", "words"),
    [
        ("Darwin", "arm64", ("", ""), "This is Darwin on arm64"),
        ("Linux", "aarch64", ("glibc", "2.36"), "This is Linux on aarch64"),
        ("Linux", "x86_64", ("", ""), "has no glibc"),
        ("Linux", "x86_64", ("glibc", "2.17"), "glibc 2.17 is older than 2.28"),
    ],
)
def test_other_platforms_are_refused(preflight, monkeypatch, system, machine_type, libc, words):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine_type)
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    found = preflight.problems("cpu", sys.executable)
    assert words in found[0]


def test_make_alone_prints_help():
    done = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT, check=True)
    for target in ("install", "quickstart", "test", "lint", "format", "types", "clean"):
        assert f"make {target} " in done.stdout


def test_make_install_with_nothing_to_do_takes_under_a_second(tmp_path):
    for file in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / ".venv").mkdir()
    stamp = tmp_path / ".venv" / ".installed-cpu"
    stamp.touch()
    os.utime(stamp, (time.time() + 1, time.time() + 1))
    start = time.monotonic()
    subprocess.run(["make", "install"], cwd=tmp_path, check=True, capture_output=True)
    assert time.monotonic() - start < 1
