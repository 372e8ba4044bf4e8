"""`ucluster-tune data convert`, as typed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tests.hls4ml_files import made_up_file, write_folder, write_tar
from ucluster_tune.cli.data.convert import convert as command
from ucluster_tune.cli.main import main
from ucluster_tune.data.format.manifest import read_manifest, verify_files
from ucluster_tune.data.hls4ml.conversion import DEFAULT_ROW_GROUP_SIZE


def convert(*arguments):
    return CliRunner().invoke(main, ["data", "convert", *map(str, arguments)])


def test_a_data_set_is_made_and_described(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=60, classes=("g", "w", "z", "t", "undef"))
    out = tmp_path / "my jets"
    result = convert(source, "--out", out, "--mass-max", 172)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(out)
    verify_files(out, manifest)
    first, second, last = result.stdout.splitlines()
    sizes = [manifest.n_jets(split) for split in ("train", "validation", "test")]
    train, validation, test = sizes
    assert first == (
        f"{out}: {train} train, {validation} validation, {test} test jets of classes w, z, t"
    )
    n_heavy = 108 - sum(sizes)
    assert second == (
        f"180 jets were read; left out: 36 without a class, 36 of another class,"
        f" {n_heavy} outside the mass range"
    )
    assert last == f"Next: ucluster-tune data describe '{out}'"
    assert "converting jets" in result.stderr


def test_the_recorded_command_makes_the_same_jets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "jets.tar.gz", write_folder(tmp_path / "files", n_jets=60))
    options = ["--mass-min", 50, "--seed", 7, "--classes", "z,t", "--fractions", "0.5,0.25,0.25"]
    assert convert("jets.tar.gz", "--out", "first", *options).exit_code == 0
    first = read_manifest("first")
    program, group, verb, *arguments = first.command.split()
    assert (program, group, verb) == ("ucluster-tune", "data", "convert")
    assert convert(*(part.replace("first", "second") for part in arguments)).exit_code == 0
    second = read_manifest("second")
    assert second.dataset_checksum == first.dataset_checksum
    assert second.settings == first.settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "w,b"], "'b' is no class"),
        (["--mass-min", "nan"], "not a number"),
        (["--mass-max", "-1"], "not in the range"),
        (["--mass-min", "90", "--mass-max", "80"], "90 must be below --mass-max, 80"),
        (["--fractions", "1,1,1"], "the sum must be 1"),
        (["--seed", "-1"], "not in the range"),
        (["--row-group-size", "0"], "not in the range"),
        (["--max-bad-jets", "-1"], "not in the range"),
    ],
)
def test_bad_values_are_usage_errors(tmp_path, options, message):
    result = convert(tmp_path / "nowhere", "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_source_is_one_error_and_leaves_nothing(tmp_path):
    file = made_up_file(20)
    file.constituents = file.constituents[:, :, :10]
    file.write(tmp_path / "jets.h5")
    for source, fault in (
        ("jets.h5", "names j1_phirel as number 12, but there are only 10 columns"),
        ("nowhere", "no such file or folder"),
        (".", "names j1_phirel as number 12"),
    ):
        result = convert(tmp_path / source, "--out", tmp_path / "out")
        assert result.exit_code == 1
        errors = [line for line in result.stderr.splitlines() if "converting" not in line]
        assert len(errors) == 1
        assert errors[0].startswith("Error: ")
        assert fault in errors[0]
        assert [path.name for path in tmp_path.iterdir()] == ["jets.h5"]


def test_ctrl_c_leaves_nothing(tmp_path):
    source = write_folder(tmp_path / "files", n_files=4, n_jets=6000, max_constituents=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "ucluster_tune", "data", "convert", source, "--out", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.part-*/scratch/mixing/*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_the_default_is_that_of_the_layer_below():
    defaults = {option.name: option.default for option in command.params}
    assert defaults["row_group_size"] == DEFAULT_ROW_GROUP_SIZE
    assert "Example:" in (command.epilog or "")


def test_copies_of_a_file_and_its_shorter_forms_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "files"
    made = made_up_file(90, max_constituents=100)
    made.write(folder / "x.h5")
    (folder / "x (1).h5").write_bytes((folder / "x.h5").read_bytes())
    made.constituents = made.constituents[:, :30]  # as the record's 30-particle form of them
    made.write(folder / "x_30p.h5")
    result = convert(folder, "--out", tmp_path / "jets")
    assert result.exit_code == 0, result.output
    assert "270 jets were read; left out: 180 that came before" in result.stdout
    assert f"in these files and are left out: {folder / 'x.h5'} (90)" in result.stderr
    alone = tmp_path / "alone"
    alone.mkdir()
    (folder / "x (1).h5").rename(alone / "x (1).h5")  # the first one by name
    assert convert(alone, "--out", tmp_path / "same").exit_code == 0
    first, second = (read_manifest(tmp_path / name) for name in ("jets", "same"))
    assert first.dataset_checksum == second.dataset_checksum


def test_classes_are_left_out_where_nobody_wants_them(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=60, classes=("w", "undef"))
    result = convert(source, "--out", tmp_path / "out", "--classes", "none")
    assert result.exit_code == 0, result.output
    assert "jets without classes" in result.stdout
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.classes, manifest.settings["n_jets_read"]) == ((), 180)
    assert "--classes none" in manifest.command
