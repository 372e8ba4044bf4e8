import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.study_events import epoch, four_trials, trial_ended
from ucluster_tune.errors import StudyError
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, TrialTracked
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.status import (
    find_study,
    list_studies,
    remaining_s,
    study_status,
)

STABLE_KEYS = (
    *("name", "state", "reference_accuracy", "tracking_uri", "experiment_id", "run_id"),
    *("best", "trials"),
)
TRIAL_KEYS = ("id", "outcome", "epochs", "hyperparameters", "clustering_accuracy", "run_id")
DRIVE = """
import sys
from pathlib import Path
from tests.study_events import four_trials
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudyPaths
paths = StudyPaths(Path(sys.argv[1]))
with DriverLock(paths), StudyJournal(paths.record) as journal:
    for event in four_trials():
        journal.append(event)
    print("driving", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudiesFolder:
    return StudiesFolder(tmp_path)


@pytest.fixture
def study(folder: StudiesFolder) -> StudyPaths:
    paths = folder.study("jets")
    paths.root.mkdir()
    return paths


@pytest.fixture
def driver(study: StudyPaths) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(study.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "driving\n"
        yield process
        process.kill()


def write(study: StudyPaths, *events: Any) -> None:
    with StudyJournal(study.record) as journal:
        for event in events:
            journal.append(event)


def outcomes(status: dict[str, Any]) -> list[str]:
    return [trial["outcome"] for trial in status["trials"]]


def test_status_of_a_running_study_then_of_the_same_one_killed(
    study: StudyPaths, driver: "subprocess.Popen[str]"
) -> None:
    status = study_status(study)
    assert status["state"] == "running"
    assert outcomes(status) == ["complete", "stopped_early", "failed", "running"]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    status = study_status(study)
    assert status["state"] == "interrupted"
    assert outcomes(status) == ["complete", "stopped_early", "failed", "interrupted"]
    assert status["trials"][3]["epochs"] == 1
    assert status["ended"] == status["trials"][3]["ended"]


def test_stable_keys_come_first_and_are_plain_json(study: StudyPaths) -> None:
    test = {"clustering_accuracy": 0.68, "clustering_accuracy_batched": 0.7, "confusion": [[1]]}
    write(
        study,
        *four_trials(),
        TrialTracked(trial="0001", run_id="run-0001"),
        trial_ended("0004", "interrupted", 1),
        StudyEvaluated(trial="0001", test=test, baselines={"kmeans_mass": {}}),
        StudyEnded(state="complete"),
    )
    status = json.loads(json.dumps(study_status(study), allow_nan=False))
    assert tuple(status)[: len(STABLE_KEYS)] == STABLE_KEYS
    assert status["best"] == {
        "trial_id": "0001",
        "score": 0.7,
        "validation": {"clustering_accuracy": 0.7, "clustering_accuracy_batched": 0.7},
        "test": {
            "clustering_accuracy": 0.68,
            "clustering_accuracy_batched": 0.7,
            "clustering_accuracy_interval": pytest.approx([0.098, 0.977], abs=1e-3),
        },
    }
    first = status["trials"][0]
    assert {key: first[key] for key in TRIAL_KEYS} == {
        "id": "0001",
        "outcome": "complete",
        "epochs": 6,
        "hyperparameters": {"training.learning_rate": 1e-3},
        "clustering_accuracy": 0.7,
        "run_id": "run-0001",
    }
    assert status["trials"][2]["cause"] == "loss is not finite in epoch 2"
    assert (status["state"], status["reference_accuracy"]) == ("complete", 0.81)


def test_study_without_an_epoch_has_no_best(study: StudyPaths) -> None:
    write(study, *four_trials()[:2])
    with DriverLock(study):
        status = study_status(study)
    assert status["best"] is None
    assert status["trials"][0]["clustering_accuracy"] is None


def test_failed_study_says_why(study: StudyPaths) -> None:
    write(study, four_trials()[0], StudyEnded(state="failed", cause="no room on the disk"))
    status = study_status(study)
    assert (status["state"], status["cause"]) == ("failed", "no room on the disk")


def test_studies_are_listed_also_where_one_cannot_be_read(
    folder: StudiesFolder, study: StudyPaths
) -> None:
    write(study, *four_trials())
    (folder.root / "bad").mkdir()
    (folder.root / "bad" / "record.jsonl").write_text("{}\n")
    bad, good = list_studies(folder)
    assert bad["state"] == "unreadable"
    assert "line 1" in bad["cause"]
    assert (good["name"], good["state"]) == ("jets", "interrupted")
    assert (good["n_finished"], good["n_trials"]) == (3, 4)
    assert good["best"]["trial_id"] == "0001"


def test_unknown_study_is_told_the_nearest_one(folder: StudiesFolder, study: StudyPaths) -> None:
    with pytest.raises(StudyError, match="holds none yet"):
        find_study(folder, "jest")
    write(study, *four_trials())
    assert find_study(folder, "jets") == study
    with pytest.raises(StudyError, match="did you mean jets"):
        find_study(folder, "jest")
    with pytest.raises(StudyError, match="ucluster-tune list"):
        find_study(folder, "zzz")


def test_time_left_follows_from_the_epochs_left(study: StudyPaths) -> None:
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    first, *others = four_trials()
    write(study, first.model_copy(update={"time": an_hour_ago}), *others)
    record = read_record(study.record)
    # 10 epochs done; finished trials had 3 epochs on average, the running one has 1 of them.
    expected = elapsed_s(record) * 2 / 10
    assert remaining_s(record) == pytest.approx(expected, rel=0.01)
    record.apply(epoch("0004", 2, 0.5))
    record.apply(StudyEnded(state="complete"))
    assert remaining_s(record) is None


def test_time_left_is_not_told_before_a_trial_has_ended_nor_when_all_have(
    study: StudyPaths,
) -> None:
    events = four_trials()
    n_first = next(n for n, event in enumerate(events) if event.event == "trial_ended")
    write(study, *events[:n_first])
    record = read_record(study.record)
    assert remaining_s(record) is None
    for event in events[n_first:]:
        record.apply(event)
    assert remaining_s(record) is not None
    record.apply(trial_ended("0004", "complete", 6))
    assert remaining_s(record) is None


def test_a_budget_that_ends_the_search_earlier_bounds_the_time_left(
    study: StudyPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(study, *four_trials())
    record = read_record(study.record)
    now = datetime.fromisoformat(record.session_started) + timedelta(seconds=100)
    monkeypatch.setattr("ucluster_tune.study.budget.utc_now", now.isoformat)
    record.budget = record.budget.model_copy(update={"total_epochs": 11})  # 10 were run
    assert remaining_s(record) == pytest.approx(elapsed_s(record) / 10, rel=0.01)
