"""Searches in which something goes wrong: workers, training, signals, the disk."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest
from mlflow.tracking import MlflowClient

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.study_events import started
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

EPOCHS, RATE = "training.n_epochs", "training.learning_rate"
ONE_WORKER = {"workers_per_trial": 1}
SHORT, LONG, DIVERGENT = 2, 80, 1e30  # the published 200 epochs are nearest to LONG
SPACE = {
    EPOCHS: {"type": "categorical", "choices": [SHORT, LONG]},
    RATE: {"type": "categorical", "choices": [1e-3, DIVERGENT]},
}
# What happens to each trial: a worker is killed, training diverges, nothing, Ctrl-C.
TRIALS = [(LONG, 1e-3), (SHORT, DIVERGENT), (SHORT, 1e-3), (LONG, 1e-3)]


def seed_of_the_trials():
    """A seed of random sampling that gives TRIALS, of which the first is put first."""
    first = dict(zip((EPOCHS, RATE), TRIALS[0], strict=True))
    for seed in itertools.count():
        study = StudyConfig.model_validate(
            {
                "data": {"path": "/jets"},
                "search_space": SPACE,
                "sampler": {"name": "random", "seed": seed},
            }
        )
        sampler = StudySampler(study, StudyRecord(started(study)), first)
        asked = (sampler.ask(str(number)).hyperparameters for number in range(len(TRIALS)))
        if all((p[EPOCHS], p[RATE]) == t for p, t in zip(asked, TRIALS, strict=True)):
            return seed
    raise AssertionError


@pytest.fixture
def start(tmp_path, jets_parquet, with_store):
    """A function that starts a search which lasts until it is stopped."""
    started = []

    def run(studies=tmp_path / "studies", **sections):
        sections = {"training": {"n_epochs": 20_000}} | sections
        file = small_study.write_study(tmp_path / "long.yaml", jets_parquet, **sections)
        words = ("run", file, "--studies-dir", with_store(studies))
        search = small_study.RunningCommand(tmp_path, *words)
        started.append(search)
        return search, StudiesFolder(studies).study("long")

    yield run
    for search in started:
        search.kill()


@pytest.fixture(scope="module")
def troubled(jets_parquet, tmp_path_factory, with_store):
    """A search of TRIALS, ended by Ctrl-C in the last one."""
    folder = tmp_path_factory.mktemp("troubled")
    file = small_study.write_study(
        folder / "troubled.yaml",
        jets_parquet,
        search_space=SPACE,
        sampler={"name": "random", "seed": seed_of_the_trials()},
        budget={"n_trials": 6},
    )
    studies = with_store(folder / "studies")
    search = small_study.RunningCommand(folder, "run", file, "--studies-dir", studies)
    try:
        search.wait_for("trial 0001 epoch 2/")
        before = search.workers()
        before[-1].kill()
        killed = time.monotonic()
        search.wait_for("trial 0001 went on from its checkpoint")
        seconds_to_recovery = time.monotonic() - killed
        search.wait_for("trial 0004 epoch 2/")
        search.send(signal.SIGINT)
        interrupted = time.monotonic()
        exit_code = search.end()
        return SimpleNamespace(
            exit_code=exit_code,
            stdout=search.out.read_text(),
            stderr=search.err.read_text(),
            seconds_to_recovery=seconds_to_recovery,
            before=before,
            seconds_to_end=time.monotonic() - interrupted,
            left_over=search.left_over(timeout_s=0),
            paths=StudiesFolder(studies).study("troubled"),
            record=read_record(StudiesFolder(studies).study("troubled").record),
        )
    finally:
        search.kill()


def test_trials_were_those_that_the_seed_gives(troubled):
    asked = [
        (t.hyperparameters[EPOCHS], t.hyperparameters[RATE])
        for t in troubled.record.trials.values()
    ]
    assert asked == TRIALS


def test_trial_goes_on_from_its_checkpoint_when_a_worker_dies(troubled):
    trial = troubled.record.trials["0001"]
    (cause,) = trial.retry_causes
    assert re.fullmatch(r"worker [01] died: its process [^\n]*", cause)
    assert trial.restored_epochs[0] >= 2
    assert (trial.outcome, trial.epochs, trial.n_epochs_again) == ("complete", LONG, 0)
    assert troubled.seconds_to_recovery < 60
    assert not any(small_study.is_alive(worker) for worker in troubled.before)


def test_all_agrees_after_it(troubled):
    assert_all_agrees(troubled.paths.root.parent, "troubled")


def test_error_of_a_worker_is_told_as_it_is(troubled):
    trial = troubled.record.trials["0002"]
    assert trial.outcome == "failed"
    assert trial.cause.startswith("loss is not finite (")
    assert re.search(r"in epoch 1, step \d, at learning rate 1e\+30", trial.cause)
    assert "\n" not in trial.cause


def test_search_goes_on_after_failures(troubled):
    trial = troubled.record.trials["0003"]
    assert (trial.outcome, trial.epochs) == ("complete", SHORT)


def test_interrupt_ends_the_search_in_order(troubled):
    assert troubled.exit_code == 130
    assert troubled.record.state == "interrupted"
    assert troubled.record.trials["0004"].outcome == "interrupted"
    assert troubled.seconds_to_end < 30
    assert troubled.left_over == []
    assert "Stopping after the running epochs" in troubled.stderr
    assert "Traceback" not in troubled.stdout + troubled.stderr
    assert "trial 0005" not in troubled.stderr


def test_interrupted_trial_keeps_its_last_epoch(troubled):
    trial = troubled.record.trials["0004"]
    files = troubled.paths.trial("0004")
    assert files.last_epoch == trial.epochs
    assert files.checkpoint(trial.best_epoch).exists()


def test_failures_are_told_in_the_summary(troubled):
    assert troubled.stdout.startswith("Study troubled  ‖ interrupted")
    assert "trial 0002 failed: loss is not finite" in troubled.stdout
    assert re.search(r"\nk-means on the jet mass +62\.5 %", troubled.stdout)  # of validation jets
    assert max(map(len, troubled.stdout.partition("Next, type")[0].splitlines())) <= 80


def test_mlflow_has_the_outcomes(troubled):
    client = MlflowClient(tracking_uri=troubled.record.tracking_uri)
    status = {t.id: client.get_run(t.run_id).info.status for t in troubled.record.trials.values()}
    assert status == {"0001": "FINISHED", "0002": "FAILED", "0003": "FINISHED", "0004": "KILLED"}
    assert client.get_run(troubled.record.run_id).info.status == "KILLED"
    failed = client.get_run(troubled.record.trials["0002"].run_id)
    assert "not finite" in failed.data.tags["ucluster_tune.cause"]


def test_second_interrupt_ends_at_once(start):
    search, paths = start()
    search.wait_for("trial 0001 started")
    search.send(signal.SIGINT)
    search.wait_for("Stopping after the running epochs")
    search.send(signal.SIGINT)
    assert search.end(timeout_s=20) == 130
    assert search.left_over(timeout_s=5) == []
    record = read_study(paths)
    assert (record.state, record.trials["0001"].outcome) == ("interrupted", "interrupted")
    assert "Traceback" not in search.err.read_text()


def test_termination_of_all_processes_at_once_ends_in_order(start):
    search, paths = start(resources=ONE_WORKER)
    search.wait_for("trial 0001 epoch 1/")
    for process in search.note_processes():  # Ray's and the workers, as scancel and systemd do
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGHUP)
    os.kill(search.process.pid, signal.SIGTERM)
    os.kill(search.process.pid, signal.SIGHUP)
    assert search.end() == 130
    assert search.left_over(timeout_s=0) == []
    record = read_study(paths)
    assert (record.state, record.cause) == ("interrupted", "stopped by a signal")
    client = MlflowClient(tracking_uri=record.tracking_uri)
    runs = [record.run_id, *(trial.run_id for trial in record.trials.values())]
    assert {client.get_run(str(run_id)).info.status for run_id in runs} == {"KILLED"}
    assert "Traceback" not in search.err.read_text()


def test_killed_driver_leaves_an_interrupted_study_and_no_process(start):
    search, paths = start(resources=ONE_WORKER)
    search.wait_for("trial 0001 started")
    while not search.workers():
        time.sleep(0.1)
    search.process.kill()
    search.end()
    assert search.left_over(timeout_s=30) == []
    shown = small_study.call("status", "long", "--studies-dir", paths.root.parent)
    assert shown.returncode == 0
    assert "interrupted: the driver was killed" in shown.stdout


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    arguments = ["-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run([mount, *arguments], check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_ends_the_search_with_one_clear_error_and_it_goes_on_once_there_is_room(
    start, small_disk, jets_parquet, tmp_path
):
    search, paths = start(small_disk / "studies")
    search.wait_for("trial 0001 epoch 2/")
    with (small_disk / "filling").open("wb", buffering=0) as filling:
        try:
            while True:
                filling.write(bytes(1 << 14))
        except OSError:
            pass
    assert search.end() == 1
    assert search.left_over(timeout_s=0) == []
    errors = [line for line in search.err.read_text().splitlines() if "Error: " in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"Error: {paths.root}")
    assert "cannot be written: No space left on device; free some space" in errors[0]
    assert "`ucluster-tune resume long`" in errors[0]
    assert "Traceback" not in search.err.read_text()
    study = read_study(paths)
    trial = study.trials["0001"]
    assert (study.state, trial.outcome, trial.epochs >= 2) == ("interrupted", "interrupted", True)
    (small_disk / "filling").unlink()
    moved = shutil.copytree(jets_parquet, tmp_path / "moved")
    words = ("resume", "long", "--data", moved, "--studies-dir", paths.root.parent)
    again = small_study.RunningCommand(paths.root.parent, *words)
    try:
        again.wait_for(f"trial 0001 epoch {trial.epochs + 2}/")
        again.send(signal.SIGINT)
        assert again.end() == 130
    finally:
        again.kill()
    record = assert_all_agrees(paths.root.parent, "long")
    assert record.trials["0001"].epochs >= trial.epochs + 2
