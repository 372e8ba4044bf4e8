import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.tracking.mlflow.store import (
    keep_mlflow_quiet,
    resolve_tracking_uri,
    uri_of_study,
)
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.record import EpochRecord

TAGS = {"dataset_checksum": "ab12", "code_version": "0.1.0", "seed": 1}


def epoch_record(epoch: int, **changed: float) -> EpochRecord:
    record: dict[str, Any] = dict.fromkeys(
        ("focal_loss", "clustering_loss", "total_loss", "learning_rate", "inverse_temperature"),
        0.5,
    )
    record |= {"clustering_accuracy": 0.7, "clustering_accuracy_batched": 0.75, "purity": 0.7}
    record |= {"nmi": 0.3, "ari": 0.2, "jets_per_second": 100.0, "seconds": 2.0}
    record |= changed
    return EpochRecord(epoch=epoch, phase="clustering", class_names=["w", "z"], **record)


def test_an_address_that_is_no_store_is_blamed_on_who_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://ann:secret@x")
    with pytest.raises(StudyError, match=r"^MLFLOW_TRACKING_URI in the environment: ") as told:
        resolve_tracking_uri(None, tmp_path)
    assert "secret" not in str(told.value)
    assert "http://host:5000" in str(told.value)
    with pytest.raises(StudyError, match=r"^tracking\.uri: "):
        resolve_tracking_uri("gopher://x", tmp_path)


def test_variables_that_are_set_are_not_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts in the middle of a change is given half an environment."""
    keep_mlflow_quiet()
    changed: list[str] = []
    monkeypatch.setattr(os, "putenv", lambda name, _value: changed.append(os.fsdecode(name)))
    keep_mlflow_quiet()
    assert changed == []


@pytest.fixture(scope="module")
def studies_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies with space")


@pytest.fixture(scope="module")
def tracker(studies_dir: Path) -> Tracker:
    return Tracker.open(TrackingConfig(), studies_dir)


@pytest.fixture(scope="module")
def client(tracker: Tracker) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracker.uri)


@pytest.fixture
def study(tracker: Tracker) -> str:
    return tracker.start_study("jets", {"sampler.name": "tpe"}, TAGS)


@pytest.fixture
def trial(tracker: Tracker, study: str) -> Iterator[str]:
    yield tracker.start_trial(study, "0001", {"training.learning_rate": 1e-3})


def children(client: Any, tracker: Tracker, study: str) -> list[Any]:
    found: list[Any] = client.search_runs(
        [tracker.experiment_id], f"tags.`mlflow.parentRunId` = '{study}'"
    )
    return found


def test_store_and_artifacts_lie_in_the_studies_folder(
    tracker: Tracker, client: Any, study: str, studies_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "best.yaml").write_text("a: 1\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "embedding.png").write_bytes(b"png")
    tracker.log_artifacts(study, tmp_path / "best.yaml")
    tracker.log_artifacts(study, tmp_path / "pictures", artifact_path="pictures")

    assert tracker.uri == f"sqlite:///{studies_dir}/mlflow.db"
    assert (studies_dir / "mlartifacts" / study / "artifacts" / "best.yaml").is_file()
    assert [found.path for found in client.list_artifacts(study, "pictures")] == [
        "pictures/embedding.png"
    ]


def test_a_trial_is_a_child_of_its_study_with_the_studys_tags(
    client: Any, study: str, trial: str
) -> None:
    parent, child = client.get_run(study), client.get_run(trial)
    assert parent.info.run_name == "jets"
    assert parent.data.params == {"sampler.name": "tpe"}
    assert child.info.run_name == "jets/0001"
    assert child.data.params == {"training.learning_rate": "0.001"}
    assert child.data.tags["mlflow.parentRunId"] == study
    own = {
        key: value for key, value in child.data.tags.items() if key.startswith("ucluster_tune.")
    }
    assert own == {
        "ucluster_tune.study": "jets",
        "ucluster_tune.trial": "0001",
        "ucluster_tune.outcome": "running",
        "ucluster_tune.dataset_checksum": "ab12",
        "ucluster_tune.code_version": "0.1.0",
        "ucluster_tune.seed": "1",
    }


def test_runs_of_trials_say_how_they_were_closed(
    tracker: Tracker, client: Any, study: str, trial: str, studies_dir: Path
) -> None:
    tracker.end_trial(trial, "interrupted", "power cut", 3)
    again = Tracker.open(TrackingConfig(), studies_dir)
    (run,) = again.trials(study)
    assert (run.run_id, run.trial_id) == (trial, "0001")
    assert run.says("interrupted", 3)
    assert not run.says("interrupted", 4)
    assert not run.says("complete", 3)
    again.resume_trial(trial)
    (run,) = again.trials(study)
    assert not run.says("interrupted", 3)
    assert client.get_run(trial).info.status == "RUNNING"
    assert client.get_run(trial).data.tags["ucluster_tune.outcome"] == "running"


def test_a_study_s_run_may_be_there_or_not(tracker: Tracker, study: str) -> None:
    assert tracker.study_exists(study)
    assert not tracker.study_exists("0" * 32)
    tracker.delete(study)
    assert not tracker.study_exists(study)


def test_many_epochs_are_sent_whole(tracker: Tracker, trial: str) -> None:
    epochs = [(epoch_record(number), 1000 * number) for number in range(1, 151)]
    tracker.log_epochs(trial, epochs, 0.81)
    assert tracker.logged_epochs(trial) == [(number, 1000 * number) for number in range(1, 151)]


def test_an_epoch_is_one_batch_with_the_epoch_as_step(
    tracker: Tracker, client: Any, trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    calls: list[str] = []
    log_batch = MlflowClient.log_batch

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append("log_batch")
        return log_batch(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    tracker.log_epochs(trial, [(epoch_record(7), 7)], 0.81)

    assert calls == ["log_batch"]
    metrics = client.get_run(trial).data.metrics
    assert "reference_accuracy" not in metrics  # the same in all: it would squeeze comparisons
    assert metrics["difference_to_reference"] == pytest.approx(0.75 - 0.81)
    assert metrics["clustering_accuracy"] == 0.7
    assert "seconds" not in metrics
    assert [entry.step for entry in client.get_metric_history(trial, "nmi")] == [7]


def test_the_study_has_the_line_of_the_reference(
    tracker: Tracker, client: Any, study: str
) -> None:
    tracker.draw_reference(study, 0.81, 9)
    line = client.get_metric_history(study, "reference_accuracy")
    assert [(point.step, point.value) for point in line] == [(1, 0.81), (9, 0.81)]


def test_a_view_is_shared_until_it_is_forgotten(tracker: Tracker, client: Any) -> None:
    tracker.share_view("jets-1", "{}")
    tag = "mlflow.sharedViewState.jets-1"
    assert client.get_experiment(tracker.experiment_id).tags[tag] == "{}"
    for _ in range(2):
        tracker.forget_view("jets-1")
        assert tag not in client.get_experiment(tracker.experiment_id).tags


def test_the_answer_is_the_description_of_the_study_and_the_report_beside_it(
    tracker: Tracker, client: Any, study: str, tmp_path: Path
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<html>")
    assert tracker.tell_answer(study, tmp_path / "report", "It is 80 %.")
    assert not tracker.tell_answer(study, tmp_path / "report", "It is 80 %.")
    assert client.get_run(study).data.tags["mlflow.note.content"] == "It is 80 %."
    found = [file.path for file in client.list_artifacts(study, "report")]
    assert found == ["report/report.html"]


def test_a_description_that_is_too_long_loses_whole_tables(
    tracker: Tracker, client: Any, study: str, tmp_path: Path
) -> None:
    table, end = "| a |\n| :-- |\n" + "| 1 |\n" * 700, "The whole report is an artifact."
    tracker.tell_answer(study, tmp_path, f"It is 80 %.\n\n{table}\n\n{table}\n\n{end}")
    told = client.get_run(study).data.tags["mlflow.note.content"]
    assert told == f"It is 80 %.\n\n{table}\n\n{end}"


def test_an_epoch_sent_again_is_stored_once(tracker: Tracker, client: Any, trial: str) -> None:
    for _ in range(2):
        tracker.log_epochs(trial, [(epoch_record(1), 1_700_000_000_000)], 0.81)
    assert len(client.get_metric_history(trial, "ari")) == 1


def test_a_value_that_is_not_finite_is_left_out_and_named(
    tracker: Tracker, client: Any, trial: str
) -> None:
    values = {"focal_loss": math.nan, "nmi": math.inf, "clustering_accuracy_batched": math.nan}
    tracker.log_epochs(trial, [(epoch_record(3, **values), 3)], 0.81)
    run = client.get_run(trial)
    assert run.data.metrics["ari"] == 0.2
    assert not {*values, "difference_to_reference"} & set(run.data.metrics)
    assert run.data.tags["ucluster_tune.not_finite"] == (
        "step 3: clustering_accuracy_batched: nan, nmi: inf, focal_loss: nan"
    )


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("complete", "FINISHED"),
        ("stopped_early", "FINISHED"),
        ("failed", "FAILED"),
        ("interrupted", "KILLED"),
    ],
)
def test_outcomes_become_mlflow_statuses(
    tracker: Tracker, client: Any, trial: str, outcome: str, status: str
) -> None:
    tracker.end_trial(trial, outcome, "x" * 10_000)
    run = client.get_run(trial)
    assert run.info.status == status
    assert run.info.end_time is not None
    assert run.data.tags["ucluster_tune.outcome"] == outcome
    assert run.data.tags["ucluster_tune.cause"].startswith("xxx")


def test_the_study_ends_with_its_metrics(tracker: Tracker, client: Any, study: str) -> None:
    tracker.end_study(study, "complete", {"best_test_clustering_accuracy": 0.7})
    run = client.get_run(study)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"best_test_clustering_accuracy": 0.7}
    assert run.data.tags["ucluster_tune.state"] == "complete"


def test_a_deleted_experiment_is_refused_with_the_way_out(studies_dir: Path, client: Any) -> None:
    config = TrackingConfig(experiment="gone")
    client.delete_experiment(Tracker.open(config, studies_dir).experiment_id)
    with pytest.raises(StudyError, match="mlflow experiments restore -x"):
        Tracker.open(config, studies_dir)


def test_an_unwritable_sqlite_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("text, not a database, but long enough to look at" * 50)
    start = time.monotonic()
    with pytest.raises(StudyError, match=r"a_file.*cannot be written: file is not a database"):
        Tracker.open(TrackingConfig(uri=f"sqlite:///{tmp_path}/a_file"), tmp_path)
    with pytest.raises(StudyError, match="cannot be written"):
        Tracker.open(TrackingConfig(), tmp_path / "a_file")
    assert time.monotonic() - start < 2


def test_a_study_that_moved_finds_its_store_and_a_password_is_taken_from_its_file(
    tmp_path: Path,
) -> None:
    assert uri_of_study(None, "sqlite:////old/mlflow.db", tmp_path).endswith(
        f"{tmp_path}/mlflow.db"
    )
    assert uri_of_study("runs.db", "sqlite:////a/runs.db", tmp_path) == "sqlite:////a/runs.db"
    (tmp_path / "runs.db").touch()  # of a studies folder that was moved with it
    assert uri_of_study("runs.db", "sqlite:////a/runs.db", tmp_path).endswith(
        str(tmp_path / "runs.db")
    )
    secret = "postgresql://ann:secret@h/db"
    assert uri_of_study(secret, uri_without_password(secret), tmp_path) == secret


def test_a_server_that_is_not_there_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        uri = f"http://ann:secret@127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StudyError, match=r"MLflow store http://ann@127") as caught:
            Tracker.open(TrackingConfig(uri=uri), tmp_path)
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StudyError, match=r"did not answer within 0\.5 s"):
            Tracker.open(TrackingConfig(uri=uri), tmp_path, timeout_s=0.5)


@pytest.mark.slow
def test_two_studies_may_open_one_new_store_at_once(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_one() -> None:
        opened.append(Tracker.open(TrackingConfig(), tmp_path).experiment_id)

    threads = [threading.Thread(target=open_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 2
    assert len(set(opened)) == 1


@pytest.mark.slow
def test_opening_a_store_prints_nothing_and_leaves_the_working_directory_alone(
    tmp_path: Path,
) -> None:
    code = """
import logging, pathlib
logging.basicConfig(level=logging.INFO)
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.tracking.mlflow.tracker import Tracker
tracker = Tracker.open(TrackingConfig(), pathlib.Path("studies"))
run = tracker.start_study("jets", {}, {})
tracker.end_study(run, "complete", {})
"""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_tracking_uris_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_tracking_uri("runs.db", Path("s")) == f"sqlite:///{tmp_path}/runs.db"
    assert resolve_tracking_uri("sqlite:///a/b.db", Path("s")) == f"sqlite:///{tmp_path}/a/b.db"
    assert resolve_tracking_uri("postgresql://h/db", Path("s")) == "postgresql://h/db"
    for refused in ("./mlruns", "file:///tmp/mlruns"):
        with pytest.raises(StudyError, match="no runs in plain folders"):
            resolve_tracking_uri(refused, Path("s"))
    assert uri_without_password("postgresql://a:b@h/db") == "postgresql://a@h/db"


@pytest.mark.slow
def test_store_that_was_cut_off_while_it_was_made_leaves_none(
    studies_dir: Path, tmp_path: Path
) -> None:
    """A process that is killed while MLflow makes its tables, and one that comes after it."""
    code = f"""
import os, signal, threading, time
from pathlib import Path
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.tracking.mlflow.tracker import Tracker
folder = Path({str(tmp_path / "cut")!r})
def kill_when_begun():
    while not any(p.stat().st_size > 4096 for p in folder.glob(".mlflow.db.*")):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill_when_begun, daemon=True).start()
Tracker.open(TrackingConfig(), folder)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "mlflow.db").exists()
    assert Tracker.open(TrackingConfig(), tmp_path / "cut").start_study("jets", {}, {})
