"""A study that was run without a server is sent to one later, once, whatever was interrupted."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from tests.agreement import assert_mlflow_agrees
from tests.study_events import epoch, four_trials, started, study_config, trial_ended
from ucluster_tune.cli.main import main
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.tracking.mlflow import mirror, sync
from ucluster_tune.tracking.mlflow.tracker import Tracker

CONFIG = study_config(
    search_space={"training.learning_rate": {"type": "float", "low": 0, "high": 1}}
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudiesFolder:
    """The study `jets`, whose driver was killed."""
    monkeypatch.setattr(mirror, "_FIRST_BACK_OFF_S", 0.05)
    folder = StudiesFolder(tmp_path / "studies")
    paths = folder.study("jets")
    paths.root.mkdir(parents=True)
    tell(paths, started(CONFIG), *four_trials()[1:])
    paths.trial("0001").pictures.mkdir(parents=True)
    (paths.trial("0001").pictures / "embedding.png").write_bytes(b"png")
    return folder


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store in which nothing is yet: to make one takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "far.db"
    Tracker.open(TrackingConfig(uri=f"sqlite:///{path}"), path.parent)
    return path


@pytest.fixture
def far(tmp_path: Path, empty_store: Path) -> str:
    (tmp_path / "far.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path}/far.db"


def tell(paths: StudyPaths, *events: Any) -> None:
    with StudyJournal(paths.record) as journal:
        for event in events:
            journal.append(event)


def send(folder: StudiesFolder, far: str) -> sync.SentStudy:
    return sync.send_study(folder.study("jets"), folder, far, lambda _: "in words", timeout_s=60)


def client_of(far: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=far, registry_uri=far)


def runs_in(far: str) -> list[Any]:
    client = client_of(far)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


def test_a_store_gets_all_of_it_and_the_study_stays_as_it_was(
    folder: StudiesFolder, far: str
) -> None:
    paths = folder.study("jets")
    paths.report.mkdir()
    paths.report_page.write_text("<html>")
    before = paths.record.read_bytes()
    sent = send(folder, far)
    assert sent.record.state == "interrupted"
    assert_mlflow_agrees(sent.record)
    assert paths.record.read_bytes() == before
    client = client_of(far)
    run_id = sent.record.trials["0001"].run_id
    assert [f.path for f in client.list_artifacts(run_id, "best_epoch")] == [
        "best_epoch/embedding.png"
    ]
    study = client.get_run(sent.record.run_id)
    assert study.data.tags["mlflow.note.content"] == "in words"
    assert [f.path for f in client.list_artifacts(study.info.run_id, "report")] == [
        "report/report.html"
    ]
    assert not folder.mlflow_db.exists()


def test_it_is_sent_once_however_often_and_what_is_new_follows(
    folder: StudiesFolder, far: str
) -> None:
    first = send(folder, far)
    again = send(folder, far)
    assert again.changes == []
    assert again.record.run_id == first.record.run_id
    tell(
        folder.study("jets"),
        epoch("0004", 2, 0.55),
        trial_ended("0004", "complete", 2),
        StudyEnded(state="complete"),
    )
    later = send(folder, far)
    assert_mlflow_agrees(later.record)
    assert later.record.state == "complete"
    assert len(runs_in(far)) == 1 + len(later.record.trials)


@pytest.mark.parametrize("call", ["start_study", "start_trial", "log_epochs", "end_trial"])
@pytest.mark.parametrize("is_done", [False, True])
def test_what_was_interrupted_goes_on(
    folder: StudiesFolder, far: str, monkeypatch: pytest.MonkeyPatch, call: str, is_done: bool
) -> None:
    """The store goes away before it did what was asked, or after, and stays away."""
    away: list[str] = []

    def cut_at(name: str, original: Any) -> Any:
        def method(tracker: Tracker, *arguments: Any, **options: Any) -> Any:
            found = None
            if not away and (name != call or is_done):
                found = original(tracker, *arguments, **options)
            away.extend([name] * (name == call))
            if away:
                raise StudyError("the cable was cut")
            return found

        return method

    with monkeypatch.context() as cut:
        for name, method in list(vars(Tracker).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                cut.setattr(Tracker, name, cut_at(name, method))
        with pytest.raises(
            StudyError, match=r"has not all .*(cable was cut|were not enough); call this command"
        ):
            sync.send_study(folder.study("jets"), folder, far, lambda _: "", timeout_s=1)
    sent = send(folder, far)
    assert_mlflow_agrees(sent.record)
    assert len(runs_in(far)) == 1 + len(sent.record.trials)


def test_two_do_not_send_it_at_once(
    folder: StudiesFolder, far: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_OTHER_SYNC_TIMEOUT_S", 0.1)
    with (
        FileLock(folder.study("jets").sync_lock),
        pytest.raises(StudyError, match="another process sends study jets"),
    ):
        send(folder, far)


def invoke(folder: StudiesFolder, uri: str) -> Result:
    options = ["--to", uri, "--studies-dir", str(folder.root)]
    return CliRunner().invoke(main, ["sync", "jets", *options])


def test_the_command_says_what_the_store_has(folder: StudiesFolder, far: str) -> None:
    result = invoke(folder, far)
    assert result.exit_code == 0, result.output
    assert "far.db has study jets, interrupted: 4 trials with 10 epochs, run " in result.stdout


def test_a_server_that_is_not_there_is_told(folder: StudiesFolder) -> None:
    result = invoke(folder, "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.output
