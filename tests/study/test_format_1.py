"""A study that the program of format 1 left is read, carried on, extended and repaired.

`format_1/study` is what commit dd7ae42 left of a search of four trials whose driver was killed in
the third one, but for its logs, pictures, databases and Tune's own files. The checkpoints know an
epoch of it that the record does not. `format_1/jets` are its jets, with the manifest's version
raised: their cos_theta_rel is another one today, which plays no part here.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.mlflow_store import WithStore
from ucluster_tune.study.journal import read_events, read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord

LEFT = Path(__file__).parent / "format_1"


@pytest.fixture
def studies(tmp_path: Path, with_store: WithStore) -> Path:
    """A studies folder with the study in it."""
    shutil.copytree(LEFT / "study", tmp_path / "studies" / "small")
    return with_store(tmp_path / "studies")


def call(studies: Path, *arguments: str | Path) -> Any:
    return small_study.call(*arguments, "--studies-dir", studies)


def told(studies: Path) -> StudyRecord:
    return read_record(StudiesFolder(studies).study("small").record)


def test_it_is_read(studies: Path) -> None:
    lines = (LEFT / "study" / "record.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["format_version"] == 1
    assert all("training" not in json.loads(line) for line in lines)
    record = told(studies)
    assert len(list(read_events(studies / "small" / "record.jsonl"))) == len(lines)
    outcomes = [trial.outcome for trial in record.trials.values()]
    assert outcomes == ["complete", "complete", "running"]
    assert record.best is not None
    for trial in record.trials.values():
        assert list(trial.trainings) == ["first"]
        assert [epoch.epoch for epoch in trial.records] == list(range(1, trial.epochs + 1))
        assert trial.run_id is not None
    done = call(studies, "status", "small", "--json")
    status = json.loads(done.stdout)
    assert (status["state"], status["n_finished"]) == ("interrupted", 2)
    assert [trial["outcome"] for trial in status["trials"]] == [*outcomes[:2], "interrupted"]
    assert status["trials"][2]["run_id"] == record.trials["0003"].run_id


@pytest.mark.slow
def test_it_is_repaired(studies: Path) -> None:
    before = told(studies)
    done = call(studies, "repair", "small")
    assert done.returncode == 0, done.stderr
    record = told(studies)
    assert record.state == "interrupted"
    assert list(record.trials) == list(before.trials)
    assert [t.epochs for t in record.trials.values()] == [t.epochs for t in before.trials.values()]


@pytest.mark.cluster
@pytest.mark.slow
def test_it_is_carried_on_by_an_extension(studies: Path) -> None:
    before = told(studies)
    wish = ("--trials", "1", "--set", f"data.path={LEFT / 'jets'}")
    done = call(studies, "extend", "small", *wish)
    assert done.returncode == 0, done.stderr
    record = assert_all_agrees(studies, "small")
    assert (record.state, len(record.trials), record.n_sessions) == ("complete", 5, 2)
    for trial_id, trial in before.trials.items():
        after = record.trials[trial_id]
        assert after.hyperparameters == trial.hyperparameters
        assert [e.epoch for e in after.records] == list(range(1, after.epochs + 1))
        assert after.records[: trial.epochs] == trial.records
    assert record.trials["0003"].n_epochs_again == 0
    assert record.trials["0005"].trainings["first"].plan.world_size == 1
