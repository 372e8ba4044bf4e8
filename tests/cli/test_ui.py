import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.study_events import epoch, started, study_config, trial_started
from ucluster_tune.cli.main import main
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.study.events import StudyStarted, StudyTracked, TrialTracked
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow no redirect."""


def write_study(studies_dir: Path, name: str, **changed: Any) -> None:
    """A study of one trial with one epoch, whose events differ from the usual ones."""
    path = StudiesFolder(studies_dir).study(name).record
    path.parent.mkdir(parents=True)
    first = started(study_config(tracking=changed.pop("tracking", {})))
    run_id, study_run = changed.pop("trial_run", "r1"), changed.pop("run", None)
    with StudyJournal(path) as journal:
        journal.append(StudyStarted(**{**first.model_dump(), "name": name, **changed}))
        if study_run is not None:
            of_study = {"tracking_uri": first.tracking_uri, "experiment_id": "1"}
            journal.append(StudyTracked(**of_study | changed, run_id=study_run))
        journal.append(trial_started("0001"))
        journal.append(TrialTracked(trial="0001", run_id=run_id))
        journal.append(epoch("0001", 1, 0.5))


def call_ui(studies_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["ui", *arguments, "--studies-dir", str(studies_dir), "--no-browser"]
    )


def test_without_a_study_the_way_to_one_is_named(tmp_path: Path) -> None:
    result = call_ui(tmp_path / "studies")
    assert result.exit_code == 1
    assert "no study yet" in result.stderr
    assert "ucluster-tune run search_spaces/quickstart.yaml" in result.stderr


def test_an_unknown_study_and_a_missing_store_are_named(tmp_path: Path) -> None:
    write_study(tmp_path, "jets")
    assert "no study 'tops'; there are jets" in call_ui(tmp_path, "tops").stderr
    missing = call_ui(tmp_path)
    assert missing.exit_code == 1
    assert f"MLflow store {tmp_path}/mlflow.db is missing" in missing.stderr


def test_a_server_that_is_configured_is_pointed_at(tmp_path: Path) -> None:
    uri = "https://ann:secret@tracking:5000"
    write_study(
        tmp_path, "jets", tracking={"uri": uri}, tracking_uri="https://ann@tracking:5000",
        experiment_id="7", trial_run="abc",
    )  # fmt: skip
    result = call_ui(tmp_path)
    assert result.exit_code == 0
    assert "https://ann@tracking:5000/#/metric?runs=%5B%22abc%22%5D" in result.stdout
    assert (
        "https://ann@tracking:5000/#/experiments/7/runs?viewStateShareKey=jets-" in result.stdout
    )
    assert "secret" not in result.output


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, "jets")
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = call_ui(tmp_path, "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1
    assert "already in use" in result.stderr


@pytest.mark.slow
def test_the_real_mlflow_shows_the_latest_study_and_ends_with_its_command(tmp_path: Path) -> None:
    from ucluster_tune.tracking.mlflow.tracker import Tracker

    tracker = Tracker.open(TrackingConfig(), tmp_path)
    run = tracker.start_study("jets", {}, {})
    trial = tracker.start_trial(run, "0001", {"training.learning_rate": 1e-3})
    tracker.log_epochs(trial, [(epoch("0001", 1, 0.5).record, 1)], 0.81)
    write_study(tmp_path, "old")
    tracker.draw_reference(run, 0.81, 6)
    write_study(tmp_path, "jets", experiment_id=tracker.experiment_id, trial_run=trial, run=run)

    command = [sys.executable, "-m", "ucluster_tune", "ui", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--studies-dir", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "study jets" in process.stdout.readline()
        short = process.stdout.readline().strip()
        assert short.endswith("/curves")
        with pytest.raises(urllib.error.HTTPError) as redirected:
            urllib.request.build_opener(_Stay()).open(short, timeout=30)
        redirected.value.close()
        base, _, fragment = redirected.value.headers["Location"].partition("/#/")
        in_chromium = urllib.request.Request(short, headers={"User-Agent": "Chrome/140.0"})
        with pytest.raises(urllib.error.HTTPError) as redirected:
            urllib.request.build_opener(_Stay()).open(in_chromium, timeout=30)
        redirected.value.close()
        assert redirected.value.headers["Location"].startswith("http://mlflow.localhost:")
        assert trial in fragment
        assert run in fragment
        history = f"{base}/ajax-api/2.0/mlflow/metrics/get-history?run_id={run}"
        with urllib.request.urlopen(f"{history}&metric_key=reference_accuracy", timeout=30) as got:
            assert re.search(r'"value":\s*0\.81', got.read().decode())
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        process.stdout and process.stdout.close()
    assert code == 0
    port = int(base.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
