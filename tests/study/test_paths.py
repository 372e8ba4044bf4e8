from pathlib import Path

import pytest

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.paths import StudiesFolder, studies_folder


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc", "a/b", "a\\b", ".hidden", "-x", "a b", "x\n", "é", "a" * 300],
)
def test_names_that_are_no_plain_folder_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="the name of a study must") as caught:
        StudiesFolder(tmp_path).study(name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["mlflow.db", "mlartifacts", "mlflow.db-wal"])
def test_names_of_the_tracking_store_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="MLflow"):
        StudiesFolder(tmp_path).study(name)


def test_all_files_of_a_study_lie_in_its_folder(tmp_path: Path) -> None:
    study = StudiesFolder(tmp_path).study("jets-2.v1")
    assert study.name == "jets-2.v1"
    assert study.record == tmp_path / "jets-2.v1" / "record.jsonl"
    trial = study.trial("0012")
    assert trial.checkpoint(7) == trial.root / "checkpoints" / "epoch-0007.ckpt"
    assert trial.evaluation(7).name == "epoch-0007.npz"


def test_studies_folder_is_the_option_then_the_variable_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UCLUSTER_TUNE_STUDIES", raising=False)
    assert studies_folder() == tmp_path / "studies"
    monkeypatch.setenv("UCLUSTER_TUNE_STUDIES", "/elsewhere")
    assert studies_folder(None) == Path("/elsewhere")
    assert studies_folder("mine") == tmp_path / "mine"


def test_only_folders_with_a_study_inside_are_listed(tmp_path: Path) -> None:
    assert StudiesFolder(tmp_path / "missing").names() == []
    for name in ("b", "a", "mlartifacts"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "study.yaml").touch()
    (tmp_path / "b" / "record.jsonl").touch()
    assert StudiesFolder(tmp_path).names() == ["a", "b"]


def test_replaced_file_is_old_or_new_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "best.yaml"
    write_whole(target, "old")
    write_whole(target, "new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best.yaml"]


def test_further_trainings_of_a_trial_lie_in_its_folder(tmp_path):
    paths = StudiesFolder(tmp_path).study("jets")
    assert paths.trial("0001").root == paths.root / "trials" / "0001"
    assert paths.trial("0001", "seed-2").root == paths.root / "trials" / "0001" / "seed-2"
