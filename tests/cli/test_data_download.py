"""`ucluster-tune data download`, as typed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tests.zenodo_server import answers, local_zenodo
from ucluster_tune.cli.main import main
from ucluster_tune.data.making.zenodo import ADDRESS_VARIABLE

FILES = {"train.tar": bytes(range(256)) * 1000, "val.tar": b"abc" * 10_000}


@pytest.fixture
def zenodo(monkeypatch):
    with local_zenodo(FILES) as server:
        monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
        yield server


def download(*arguments):
    return CliRunner().invoke(main, ["data", "download", *map(str, arguments)])


def test_files_arrive_and_the_next_command_is_told(zenodo, tmp_path):
    result = download("10.5281/zenodo.3602254", "--to", tmp_path / "my jets")
    assert result.exit_code == 0, result.stderr
    assert {p.name: p.read_bytes() for p in (tmp_path / "my jets").iterdir()} == FILES
    first, second, last = result.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/my jets/train.tar: 256000 bytes, md5 ")
    assert second.endswith(", as in the record")
    assert last == f"Next: ucluster-tune data convert '{tmp_path}/my jets' --out data/NAME"
    told = "LHC jets (10.5281/zenodo.3602254): 2 of 2 files, 286 kB"
    assert told in result.stderr
    assert "train.tar" in result.stderr


def test_errors_are_one_line(zenodo, tmp_path):
    zenodo.faults = [answers(404)]
    for arguments, fault in (
        (("jets", "--to", tmp_path), "'jets' names no Zenodo record"),
        (("17", "--to", tmp_path), "Zenodo has no record 17"),
        (("3602254", "--to", tmp_path, "--only", "*.h5"), "has no file *.h5"),
        (("3602254", "--to", tmp_path, "--only", "val*"), "the server answers HTTP 404"),
    ):
        result = download(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert fault in line
    assert download("3602254").exit_code == 2
    assert download("3602254", "--to", tmp_path, "--at-a-time", 0).exit_code == 2


def test_ctrl_c_ends_it_soon_and_the_same_command_goes_on(zenodo, tmp_path):
    def half(handler, data):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:100_000])
        handler.wfile.flush()
        time.sleep(20)

    zenodo.faults = [half]
    command = ["data", "download", "3602254", "--to", str(tmp_path), "--only", "train*"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ucluster_tune", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, ADDRESS_VARIABLE: zenodo.address},
    )
    partial = tmp_path / ".train.tar.part"
    deadline = time.monotonic() + 30
    while not partial.exists() or partial.stat().st_size < 100_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert "Traceback" not in errors
    zenodo.ranges.clear()
    assert download(*command[2:]).exit_code == 0
    assert zenodo.ranges == [100_000]
    assert (tmp_path / "train.tar").read_bytes() == FILES["train.tar"]
