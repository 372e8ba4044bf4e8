"""`ucluster-tune data describe`, as typed."""

import json

import pytest
from click.testing import CliRunner

from tests.hls4ml_files import made_up_file
from tests.small_datasets import write_jets
from ucluster_tune.cli.main import main
from ucluster_tune.data.format.manifest import read_manifest

PNG = b"\x89PNG\r\n\x1a\n"


def describe(*arguments):
    command = ["data", "describe", *map(str, arguments)]
    return CliRunner().invoke(main, command, env={"COLUMNS": "120"})


@pytest.fixture
def jets(tmp_path):
    return write_jets(tmp_path / "my jets")


def test_tables_for_people(jets):
    result = describe(jets)
    assert result.exit_code == 0, result.stderr
    lines = [" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()]
    assert "Whole yes, all checksums hold" in lines
    size = (jets / "train-00000.parquet").stat().st_size / 1e6
    assert f"train 20 20 20 60 4 {size:.1f}" in lines
    assert any(line.startswith("top ") and line.count(".") == 7 for line in lines)
    assert any(line.startswith("cos_theta_rel ") for line in lines)
    assert lines[-1].endswith(f"--set data.path='{jets}'")
    assert "checking and reading" in result.stderr


def test_json_for_scripts(jets):
    result = describe(jets, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["is_whole"] is True
    assert document["faults"] == []
    assert document["checksum"] == read_manifest(jets).dataset_checksum
    assert document["splits"]["test"]["jets"] == {"w": 10, "z": 10, "t": 10}
    assert set(document["mass_gev"]["w"]) == {"min", "q05", "q25", "q50", "q75", "q95", "max"}
    assert len(document["features"]) == 8


def test_a_damaged_data_set_is_described_as_far_as_it_goes_and_fails(jets, tmp_path):
    file = jets / "train-00000.parquet"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    plot = tmp_path / "jets.png"
    for options in ([], ["--json"], ["--plot", plot]):
        result = describe(jets, *options)
        assert result.exit_code == 1
        assert f"Error: {jets}: not whole\n{file}: altered: sha256 is" in result.stderr
        assert "Next:" not in result.stdout
        assert not plot.exists()
    assert "no: 1 fault" in describe(jets).stdout
    document = json.loads(describe(jets, "--json").stdout)
    assert document["is_whole"] is False
    assert "altered" in document["faults"][0]


def test_spectra_are_drawn(jets, tmp_path):
    plot = tmp_path / "jets.png"
    result = describe(jets, "--plot", plot)
    assert result.exit_code == 0, result.stderr
    assert f"Spectra: {plot}" in result.stdout
    assert plot.read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jets.png", "my jets"]


@pytest.mark.parametrize(("ending", "magic"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_spectra_are_drawn_in_other_formats_and_their_folder_is_made(
    jets, tmp_path, ending, magic
):
    plot = tmp_path / "new" / "folder" / f"jets.{ending}"
    assert describe(jets, "--plot", plot).exit_code == 0
    assert plot.read_bytes().startswith(magic)


def test_a_picture_that_cannot_be_written_is_an_error(jets, tmp_path):
    result = describe(jets, "--plot", "/sys/jets.png")
    assert result.exit_code == 1
    assert "/sys/jets.png: cannot be written: " in result.stderr
    assert "checking and reading" not in result.stderr, "told before anything is computed"
    result = describe(jets, "--plot", tmp_path / "jets.gif")
    assert result.exit_code == 2
    assert "must end in one of .png, .pdf, .svg" in result.stderr


def test_what_is_no_data_set_is_one_error(tmp_path):
    made_up_file(3).write(tmp_path / "jets.h5")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    for name, fault in (
        ("nowhere", "no such folder"),
        ("jets.h5", "this is an HDF5 file; make a data set of it with"),
        ("empty", "the folder is empty"),
        ("text", "this is a file"),
        (".", "but HDF5 files; make a data set of it with"),
    ):
        result = describe(tmp_path / name)
        assert result.exit_code == 1
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert fault in line


def test_a_data_set_in_a_bucket_is_described_alike(jets, s3_server):
    s3_server.make_bucket("data")
    uri = s3_server.upload(jets, "data")
    wanted, found = (json.loads(describe(place, "--json").stdout) for place in (jets, uri))
    assert found.pop("path") == uri
    del wanted["path"]
    assert found == wanted
    (jets / "test-00000.parquet").write_bytes(b"cut short")
    result = describe(s3_server.upload(jets, "data", "damaged"))
    assert result.exit_code == 1
    assert "test-00000.parquet: cut short" in result.stderr


def test_a_fingerprint_needs_a_model_and_the_other_way_round(jets):
    for options in (["--fingerprint"], ["--model", "somewhere"]):
        result = describe(jets, *options)
        assert result.exit_code == 2
        assert "give both --fingerprint and --model" in " ".join(result.stderr.split())


def test_a_fingerprint_is_a_table_a_sentence_and_json(jets, tmp_path):
    from tests.models.test_prediction import make_model
    from ucluster_tune.models.saved import write_model

    write_model(make_model(), tmp_path / "model")
    options = ["--fingerprint", "--model", tmp_path / "model"]
    shown = describe(jets, *options)
    assert shown.exit_code == 0, shown.stderr
    assert "Fingerprint: 120 jets" in shown.stdout
    assert "first_attention/edge" in shown.stdout
    assert "To this model these are other jets" in shown.stdout
    document = json.loads(describe(jets, *options, "--json").stdout)["fingerprint"]
    assert document["n_jets"] == 120
    assert document["is_near"] is False
    assert {layer["layer"] for layer in document["layers"]} >= {
        "first_attention/edge",
        "embedding",
    }
    one = json.loads(describe(jets, *options, "--classes", "w", "--json").stdout)["fingerprint"]
    assert one["n_jets"] == 40
