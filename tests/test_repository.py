"""What must not be in any file of the repository."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OF_A_DEVELOPER = re.compile(rb"(?<![\w.])/(?:work|Users|tmp/(?:w|lead|plan))/\w")
PACKAGE_HOSTS = {"pypi.org", "files.pythonhosted.org"}


@pytest.fixture(scope="module")
def tracked_files():
    """Paths of all files that git has."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"git lists no files here: {listed.stderr.decode().strip()}")
    files = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def test_no_file_names_a_path_of_a_developers_machine(tracked_files):
    found = [
        f"{file.relative_to(REPOSITORY)}: {match[0].decode(errors='replace')}"
        for file in tracked_files
        for match in OF_A_DEVELOPER.finditer(file.read_bytes())
    ]
    assert found == []


def test_packages_are_locked_from_the_public_registry_only():
    lock = (REPOSITORY / "uv.lock").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://([^/\s\"]+)", lock)) == PACKAGE_HOSTS
