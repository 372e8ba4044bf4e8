"""`check`, `train` and `run` with jets that are not there yet."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import small_study
from tests.hls4ml_files import made_up_file, write_folder, write_tar
from tests.zenodo_server import local_zenodo
from ucluster_tune.cli.main import main
from ucluster_tune.cli.studies.run import _warn_of_own_disk
from ucluster_tune.cluster.place import Place
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.data.making.preparation import (
    CACHE_VARIABLE,
    DATASETS_VARIABLE,
    plan_preparation,
)
from ucluster_tune.data.making.zenodo import ADDRESS_VARIABLE

JETS = Path(__file__).parents[2] / "search_spaces" / "jets.yaml"
RECORD = "10.5281/zenodo.3602254"
SMALL = """
model: {n_neighbors: 3, first_attention_width: 4, first_widths: [4, 4],
  second_attention_width: 4, second_widths: [4, 4], head_widths: [4, 4]}
training: {n_epochs: 2, n_pretraining_epochs: 1, global_batch_size: 32}
scheduler: {name: none}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(DATASETS_VARIABLE, raising=False)
    return folder


@pytest.fixture
def zenodo(monkeypatch, tmp_path):
    archive = write_tar(tmp_path / "train.tar.gz", write_folder(tmp_path / "files", n_jets=60))
    with local_zenodo({"train.tar.gz": archive.read_bytes()}) as server:
        monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
        yield server


def typed(*arguments, **options):
    return CliRunner().invoke(main, [*map(str, arguments)], env={"COLUMNS": "200"}, **options)


def study_file(tmp_path, path):
    file = tmp_path / "study.yaml"
    file.write_text(f"data: {{path: '{path}', classes: [w, z, t]}}\n{SMALL}")
    return file


@pytest.mark.parametrize("command", [("check",), ("run", "--yes"), ("train", "--out", "x")])
def test_files_without_all_classes_are_refused_before_anything_starts(
    tmp_path, monkeypatch, cache, command
):
    monkeypatch.chdir(tmp_path)
    file = made_up_file(20)
    file.jet_names[file.jet_names.index(b"j_g")] = b"j_gluon"
    file.write(tmp_path / "jets" / "a.h5")
    result = typed(command[0], study_file(tmp_path, "jets"), *command[1:])
    assert result.exit_code == 1
    assert "a.h5: labels only some classes: jets has no column j_g: a search" in result.stderr
    assert "No faults" not in result.stdout
    assert not cache.exists()


def test_check_says_what_would_be_fetched_and_asks_nobody(zenodo, cache):
    result = typed("check", JETS)
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.replace("│", " ").split())
    assert f"{RECORD} Zenodo record 3602254 will be fetched into" in text
    document = json.loads(typed("check", JETS, "--json").stdout)
    assert document["data"]["path"] == RECORD
    assert document["data"]["jets"] is None
    assert "will be fetched into" in document["data"]["to_do"]
    assert zenodo.requests == []
    assert not cache.exists()


def test_check_says_what_would_be_converted(zenodo, tmp_path, cache):
    file = study_file(tmp_path, "files")
    result = typed("check", file)
    assert result.exit_code == 0, result.stderr
    assert f"HLS4ML files {tmp_path}/files will be converted to" in result.stdout
    assert not cache.exists()


def test_without_yes_and_a_terminal_nothing_is_fetched(zenodo, tmp_path, cache):
    file = study_file(tmp_path, RECORD)
    for command in (
        ("run", file, "--studies-dir", tmp_path / "studies"),
        ("train", file, "--out", tmp_path / "out"),
    ):
        result = typed(*command)
        assert result.exit_code == 1
        assert result.stderr.startswith("Running on ") == (command[0] == "run")
        assert f"{RECORD}: LHC jets, 1 file of " in result.stderr
        assert "add --yes to agree to that" in result.stderr
    assert zenodo.ranges == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "files",
        "study.yaml",
        "train.tar.gz",
    ]


def test_a_search_that_cannot_be_is_refused_before_anything_is_fetched(zenodo, tmp_path):
    result = typed("run", JETS, "--set", "resources.cpus_per_worker=1000", "--yes")
    assert result.exit_code == 1
    assert "a trial takes 4000 CPUs" in result.stderr
    (tmp_path / "studies" / "study" / "trials" / "0001").mkdir(parents=True)
    file = study_file(tmp_path, RECORD)
    result = typed("run", file, "--studies-dir", tmp_path / "studies", "--yes")
    assert result.exit_code == 1
    assert f"{tmp_path / 'studies' / 'study'} is there without a record" in result.stderr
    assert zenodo.requests == []


@pytest.mark.parametrize(
    "path", ["doi:10.1000/182", "https://example.org/jets", "https://zenodo.org/communities/x"]
)
def test_addresses_that_are_no_record_are_faults_of_the_file(tmp_path, path):
    result = typed("check", study_file(tmp_path, path))
    assert result.exit_code == 1
    assert "data.path: must be a folder, a URI such as s3://BUCKET/FOLDER" in result.stderr
    assert path in result.stderr


@pytest.mark.slow
def test_train_fetches_converts_and_trains_and_does_so_once(zenodo, tmp_path, cache):
    file = study_file(tmp_path, RECORD)
    result = small_study.call("train", file, "--out", tmp_path / "out", "--yes")
    assert result.returncode == 0, result.stderr
    assert "180 of 180 jets are in the cache now" in result.stderr
    zenodo.requests.clear()
    result = small_study.call("train", file, "--out", tmp_path / "again")
    assert result.returncode == 0, result.stderr
    assert zenodo.requests == []


@pytest.mark.parametrize("has_place", [False, True])
def test_a_data_set_on_one_machine_of_a_cluster_is_warned_of_before_it_is_made(
    tmp_path, monkeypatch, capsys, has_place
):
    write_folder(tmp_path / "files", n_jets=60)
    if has_place:
        monkeypatch.setenv(DATASETS_VARIABLE, str(tmp_path / "shared"))
    study = load_study_config(study_file(tmp_path, "files"))
    _warn_of_own_disk(plan_preparation(study.data), Place("10.77.0.11:6379", "a test"))
    assert ("where other nodes do not see it" in capsys.readouterr().err) != has_place
    _warn_of_own_disk(plan_preparation(study.data), Place(None, "a test"))
    assert capsys.readouterr().err == ""
