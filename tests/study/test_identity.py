"""A study's folder that somebody copied or renamed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from tests.study_events import epoch, four_trials, trial_ended, trial_started
from ucluster_tune.cli.main import main
from ucluster_tune.storage.locations import locate
from ucluster_tune.study.events import StudyEnded, StudyResumed
from ucluster_tune.study.identity import become_own_study, original_of
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.opening import known_study, study_config_of
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.status import read_study
from ucluster_tune.tracking.databases import sqlite_uri

ENDED = [
    *four_trials(),
    *(epoch("0004", n, 0.5) for n in range(2, 7)),
    trial_ended("0004", "complete", 6),
    StudyEnded(state="complete"),
]


@pytest.fixture
def folder(tmp_path: Path) -> StudiesFolder:
    """Has the study `jets`, and `backup`, which is a copy of its folder."""
    folder = StudiesFolder(tmp_path / "a%20b%2F" / "studies")  # no escapes, but a path
    for name in ("jets",):
        paths = folder.study(name)
        paths.trials.mkdir(parents=True)
        with StudyJournal(paths.record) as journal:
            for event in ENDED:
                journal.append(event)
    shutil.copytree(folder.study("jets").root, folder.study("backup").root)
    return folder


def original(folder: StudiesFolder, name: str) -> str | None:
    paths = folder.study(name)
    return original_of(paths, read_record(paths.record))


def test_of_two_equal_records_the_one_in_the_folder_of_that_name_is_the_original(
    folder: StudiesFolder,
) -> None:
    assert original(folder, "jets") is None
    assert original(folder, "backup") == "jets"
    folder.study("jets").root.rename(folder.root / "renamed")
    assert original(folder, "backup") is None
    assert original(folder, "renamed") == "backup"
    shutil.rmtree(folder.study("backup").root)
    assert original(folder, "renamed") is None


def test_a_study_is_shown_under_the_name_of_its_folder(folder: StudiesFolder) -> None:
    assert read_study(folder.study("backup")).name == "backup"
    shown = CliRunner().invoke(main, ["status", "backup", "--studies-dir", str(folder.root)])
    assert shown.stdout.startswith("Study backup ")


def test_a_copy_gets_an_identity_of_its_own_before_it_goes_on(folder: StudiesFolder) -> None:
    from ucluster_tune.study.extension import Extension

    before = read_record(folder.study("jets").record)
    with known_study(folder, "backup", Extension(n_trials=2)) as study:
        assert study.record is not None
        assert study.record.study_id != before.study_id
        assert study.config.name == "backup"
        assert "Study backup is a copy of study jets" in study.remarks[0]
        assert [event.event for event in study.news] == ["study_copied", "study_extended"]


def test_a_copy_that_has_an_identity_keeps_it(folder: StudiesFolder) -> None:
    paths = folder.study("backup")
    record = read_record(paths.record)
    event = become_own_study(paths, record)
    assert event is not None
    with StudyJournal(paths.record) as journal:
        journal.append(event)
    read = read_record(paths.record)
    assert (read.study_id, read.run_id) == (event.study_id, None)
    assert study_config_of(read, paths).name == "backup"
    assert become_own_study(paths, read) is None
    assert original(folder, "backup") is original(folder, "jets") is None
    shutil.copytree(paths.root, folder.study("third").root)
    assert original(folder, "third") == "backup"


def in_bucket(folder: StudiesFolder, bucket: Path) -> StudiesFolder:
    """The studies of a folder, put into a folder that stands for a bucket."""
    remote = StudiesFolder(bucket.parent / "copies", locate(bucket))
    for name in folder.names():
        segments = bucket / name / "record"
        segments.mkdir(parents=True)
        shutil.copy(folder.study(name).record, segments / "000001-0001-00ff00ff.jsonl")
    return remote


def test_a_copy_within_a_bucket_is_told_from_its_original(
    folder: StudiesFolder, tmp_path: Path
) -> None:
    third = folder.study("third")
    third.root.mkdir()
    with StudyJournal(third.record) as journal:
        for event in ENDED:
            journal.append(event.model_copy(update={"study_id": "another"}))
    remote = in_bucket(folder, tmp_path / "bucket")
    for name, expected in (("backup", "jets"), ("jets", None), ("third", None)):
        paths = remote.study(name)
        assert original_of(paths, read_study(paths)) == expected
    backup = remote.study("backup")
    event = become_own_study(backup, read_study(backup))
    assert event is not None
    with (tmp_path / "bucket/backup/record/000001-0001-00ff00ff.jsonl").open("a") as segment:
        segment.write(f"{event.line()}\n")
    assert original_of(backup, read_study(backup)) is None
    assert read_study(backup).study_id == event.study_id


def statuses(folder: StudiesFolder, name: str) -> dict[str, str]:
    """How MLflow keeps the runs of a study."""
    record: Any = read_record(folder.study(name).record)
    client = MlflowClient(tracking_uri=sqlite_uri(folder.mlflow_db))
    ids = [record.run_id, *(trial.run_id for trial in record.trials.values())]
    return {run_id: client.get_run(run_id).info.lifecycle_stage for run_id in ids}


@pytest.mark.slow
def test_a_moved_studies_folder_has_all_of_it_in_its_new_place(
    folder: StudiesFolder, tmp_path: Path
) -> None:
    shutil.rmtree(folder.study("backup").root)
    CliRunner().invoke(main, ["repair", "jets", "--studies-dir", str(folder.root)])
    moved = StudiesFolder(folder.root.rename(tmp_path / "moved %41 studies"))
    pictures = moved.study("jets").trial("0005").pictures
    pictures.mkdir(parents=True)
    (pictures / "embedding.png").touch()
    news: list[Any] = [
        StudyResumed(code_version="1", host="h"),
        *(trial_started("0005"), epoch("0005", 1, 0.5), trial_ended("0005", "failed", 1)),
        StudyEnded(state="complete"),
    ]
    with StudyJournal(moved.study("jets").record) as journal:
        for event in news:
            journal.append(event)
    done = CliRunner().invoke(main, ["repair", "jets", "--studies-dir", str(moved.root)])
    assert f"MLflow: artifacts of 5 runs are in {moved.mlflow_artifacts} now" in done.stdout
    record = read_record(moved.study("jets").record)
    client = MlflowClient(tracking_uri=sqlite_uri(moved.mlflow_db))
    runs = {name: client.get_run(str(trial.run_id)) for name, trial in record.trials.items()}
    here = moved.mlflow_artifacts.as_uri()
    assert all(run.info.artifact_uri.startswith(here) for run in runs.values())
    sent = client.list_artifacts(runs["0005"].info.run_id)
    assert [file.path for file in sent] == ["best_epoch"]
    assert not folder.root.exists()
    assert [path.name for path in tmp_path.iterdir() if "%25" in path.name] == []
    again = CliRunner().invoke(main, ["repair", "jets", "--studies-dir", str(moved.root)])
    assert "artifacts" not in again.stdout


@pytest.mark.slow
def test_a_copy_takes_nothing_away_from_the_original_in_mlflow(
    folder: StudiesFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCLUSTER_TUNE_STUDIES", str(folder.root))
    shutil.rmtree(folder.study("backup").root)
    assert "mended: trial" not in CliRunner().invoke(main, ["repair", "jets"]).stdout
    own = statuses(folder, "jets")
    assert set(own.values()) == {"active"}

    for name in ("backup", "another"):
        shutil.copytree(folder.study("jets").root, folder.study(name).root)
    deleted = CliRunner().invoke(main, ["delete", "another", "--yes"])
    assert "no run in MLflow: it is a copy, and they are those of study jets" in deleted.stderr
    assert not folder.study("another").root.exists()
    assert statuses(folder, "jets") == own

    repaired = CliRunner().invoke(main, ["repair", "backup"])
    assert "mended: record.jsonl: is a copy of study jets" in repaired.stdout
    assert statuses(folder, "jets") == own
    assert not set(statuses(folder, "backup")) & set(own)
    assert CliRunner().invoke(main, ["delete", "backup", "--yes"]).exit_code == 0
    assert statuses(folder, "jets") == own
