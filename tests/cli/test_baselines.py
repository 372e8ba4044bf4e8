"""`baselines` on a data set, and on a study, with which it is kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.models.test_prediction import make_model
from tests.small_study import small_study
from ucluster_tune.cli.main import main
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.models.saved import write_model
from ucluster_tune.study.events import StudyEnded, StudyStarted
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder, StudyPaths


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["baselines", *map(str, arguments)])


@pytest.fixture
def study(tmp_path: Path, jets_parquet: Path) -> StudyPaths:
    """A study that ended before yardsticks were measured."""
    paths = StudiesFolder(tmp_path / "studies").study("old")
    paths.root.mkdir(parents=True)
    config = StudyConfig.model_validate(small_study(jets_parquet, name="old"))
    with StudyJournal(paths.record) as journal:
        started = StudyStarted(
            name="old",
            config=config.model_dump(mode="json"),
            code_version="0",
            dataset_checksum=read_manifest(jets_parquet).dataset_checksum,
            tracking_uri="",
            experiment_id="1",
            seed=1,
            reference_accuracy=0.81,
        )
        journal.append(started)
        journal.append(StudyEnded(state="complete"))
    return paths


def test_data_set_is_measured_and_told_with_its_reference(jets_parquet: Path) -> None:
    result = call(jets_parquet)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "On 48 test jets of small" in words
    for title in ("k-means on the jet mass", "two mass thresholds", "k-means on mass and sub"):
        assert title in words
    assert "no yardstick here: small holds other jets" in words
    document = json.loads(call(jets_parquet, "--json").stdout)
    assert [y["name"] for y in document["yardsticks"]] == [
        *("kmeans_mass", "mass_thresholds", "kmeans_substructure")
    ]
    assert document["evaluation_batch_size"] == 512


def test_what_is_measured_for_a_study_is_kept_with_it(study: StudyPaths) -> None:
    arguments = ("old", "--studies-dir", study.root.parent, "--json")
    first = call(*arguments)
    assert first.exit_code == 0, first.output
    kept = read_record(study.record).yardsticks
    assert kept is not None
    document = json.loads(first.stdout)
    assert (kept.evaluation_batch_size, document["evaluation_batch_size"]) == (24, 24)
    again = call(*arguments)
    assert json.loads(again.stdout) == document  # with the seconds that the first one took
    assert json.loads(call(study.root, "--json").stdout) == document  # by its folder


def test_study_that_runs_is_measured_and_left_alone(study: StudyPaths) -> None:
    before = study.record.read_bytes()
    with DriverLock(study):
        result = call("old", "--studies-dir", study.root.parent)
    assert result.exit_code == 0
    assert "Not kept with the study" in result.stderr
    assert study.record.read_bytes() == before


def test_neither_data_nor_study_is_told_with_what_fits(tmp_path: Path) -> None:
    result = call(tmp_path / "nothing", "--studies-dir", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no such file or folder" in result.stderr
    assert "or name a study" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("origin", "name"),
    [("TensorFlow checkpoint cluster.ckpt", "published_weights"), ("trial 0003", "given_model")],
)
def test_given_model_stands_beside_them(
    jets_parquet: Path, tmp_path: Path, origin: str, name: str
) -> None:
    write_model(replace(make_model(), origin=origin), tmp_path / "model")
    document = json.loads(call(jets_parquet, "--model", tmp_path / "model", "--json").stdout)
    given = document["yardsticks"][-1]
    assert (given["name"], given["how"]) == (name, origin)
    assert given["by_split"]["test"]["n_jets"] == 48


@pytest.mark.slow
def test_several_models_stand_beside_each_other(jets_parquet: Path, tmp_path: Path) -> None:
    options: list[str | Path] = []
    for folder in ("one", "other"):
        write_model(replace(make_model(), origin=f"trial {folder}"), tmp_path / folder)
        options += ["--model", tmp_path / folder]
    document = json.loads(call(jets_parquet, *options, "--json").stdout)
    given = [(y["name"], y["how"]) for y in document["yardsticks"][-2:]]
    assert given == [("given_model", "trial one"), ("given_model_2", "trial other")]
