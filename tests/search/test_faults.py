"""Processes that die under a search: what goes on, what is kept, and that all agrees then."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import psutil
import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.gate import Gate
from tests.soak import kill_and_resume
from ucluster_tune.cluster.launched.head import free_port
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.status import read_study
from ucluster_tune.tracking.mlflow.server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.faults]

N_EPOCHS = 8
SPACE = {"loss.clustering_weight": {"type": "float", "low": 1.0, "high": 100.0, "log": True}}


class Search:
    """A search of a small study, and the commands that carry it on."""

    def __init__(self, studies, jets, n_trials=2, training=None, **sections):
        self.folder = folder = studies.parent
        self.studies = studies
        self.paths = StudiesFolder(self.studies).study("small")
        self.file = small_study.write_study(
            folder / "small.yaml",
            jets,
            training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2, **(training or {})},
            search_space=SPACE,
            budget={"n_trials": n_trials},
            **sections,
        )
        self.started = []
        self.gate = Gate(folder / "gate")

    def run(self):
        return self._start("run", self.file)

    def resume(self):
        return self._start("resume", "small")

    def resume_all(self):
        return self._start("resume", "--all")

    def _start(self, *arguments):
        running = small_study.RunningCommand(
            self.folder, *arguments, "--studies-dir", self.studies, **self.gate.variables
        )
        self.started.append(running)
        return running


@pytest.fixture
def studies(tmp_path, with_store):
    return with_store(tmp_path / "studies")


@pytest.fixture
def search(studies, jets_parquet):
    search = Search(studies, jets_parquet, n_trials=1, resources={"workers_per_trial": 1})
    yield search
    for running in search.started:
        running.kill()


def process_of(running, text):
    found = [p for p in running.note_processes() if text in small_study.command_line(p)]
    titles = [small_study.command_line(p).strip() for p in running.note_processes()]
    assert found, [title for title in titles if title.startswith("ray::")]
    return found[0]


TRAINABLE, WORKER = "ray::ResourceTrainable", "HorovodWorker"


def test_trial_goes_on_elsewhere_when_its_process_is_killed_and_others_are_not_disturbed(
    studies, jets_parquet
):
    search = Search(
        studies,
        jets_parquet,
        training={"n_epochs": 100},
        resources={"workers_per_trial": 1},  # trials run side by side
    )
    search.gate.hold_after(3, "0001")
    search.gate.hold_after(5, "0002")
    running = search.run()
    try:
        running.wait_for("trial 0001 epoch 3/")
        running.wait_for("trial 0002 epoch 5/")
        undisturbed = [process_of_trial(running, "0002", name) for name in (TRAINABLE, WORKER)]
        process_of_trial(running, "0001", WORKER).kill()
        search.gate.hold_after(5, "0001")
        running.wait_for("trial 0001 epoch 5/")
        worker = process_of_trial(running, "0001", WORKER)
        process_of_trial(running, "0001", TRAINABLE).kill()
        worker.wait(60)  # it must not begin the next epoch
        search.gate.hold_after(7, "0001")
        running.wait_for("trial 0001 epoch 7/")
        search.gate.hold_after(9, "0002")
        running.wait_for("trial 0002 epoch 9/")
        assert undisturbed == [
            process_of_trial(running, "0002", name) for name in (TRAINABLE, WORKER)
        ]
        running.send(signal.SIGINT)
        running.wait_for("Stopping after the running epochs")
        search.gate.open()
        assert running.end() == 130
        assert running.left_over(timeout_s=0) == []
    finally:
        running.kill()
    trial, other = assert_all_agrees(search.studies, "small").trials.values()
    of_worker, of_process = trial.retry_causes
    assert of_worker.startswith("worker 0 died: its process ")
    assert of_process.startswith("its process crashed or was killed")
    assert trial.restored_epochs == [3, 5]
    assert (trial.epochs, trial.n_epochs_again) == (8, 0)
    assert (other.retry_causes, other.restored_epochs, other.epochs) == ([], [], 10)


def process_of_trial(running, trial, title):
    """The one process of a trial that has `title`, by its folder or its log."""
    (found,) = [
        process
        for process in running.note_processes()
        if title in small_study.command_line(process)
        and (
            process.cwd().endswith(f"/{trial}")
            or any(f"/trials/{trial}/" in file.path for file in process.open_files())
        )
    ]
    return found


MEMORY_LEFT_BYTES = 1_000_000_000
WIDE = {"second_attention_width": 4096, "n_neighbors": 100}  # 5 GB a tensor, that are never got


def test_trial_that_needs_more_memory_than_there_is_fails_and_is_not_tried_again(
    studies, jets_parquet, monkeypatch
):
    monkeypatch.setenv("UCLUSTER_TUNE_OPERATIONS", "stock")  # the fused ones keep no edges
    search = Search(
        studies, jets_parquet, n_trials=1, model=WIDE, training={"global_batch_size": 144}
    )
    try:
        running = search.run()
        log = search.paths.trial("0001").workers_log
        wait_for(lambda: log.exists() and "rank 1 of 2 on" in log.read_text())
        for worker in running.workers():
            limit = worker.memory_info().vms + MEMORY_LEFT_BYTES
            worker.rlimit(psutil.RLIMIT_AS, (limit, limit))
        assert running.end() == 1
        assert running.left_over(timeout_s=0) == []
    finally:
        for started in search.started:
            started.kill()
    trial = assert_all_agrees(search.studies, "small").trials["0001"]
    assert (trial.outcome, trial.kind, trial.retry_causes) == ("failed", "memory", [])
    assert trial.cause is not None
    assert "needed more memory than there is: lower training.global_batch_size" in trial.cause
    assert "\n" not in trial.cause
    assert log.read_text().count("rank 1 of 2 on") == 1


def wait_for(condition, timeout_s=240):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def read_only(search):
    """A function that makes the study read-only, for all who open a file of it from then on."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a folder again")
    folder, is_mounted = search.paths.root, []

    def make_read_only():
        is_mounted.append(folder)
        subprocess.run([mount, "--bind", str(folder), str(folder)], check=True)
        subprocess.run([mount, "-o", "remount,bind,ro", str(folder)], check=True)

    def make_writable():
        if is_mounted:
            subprocess.run(["umount", "-l", str(is_mounted.pop())], check=True)

    yield make_read_only, make_writable
    make_writable()


def test_read_only_storage_ends_the_search_with_one_clear_error_and_it_goes_on_later(
    search, read_only
):
    make_read_only, make_writable = read_only
    search.gate.hold_after(5)
    running = search.run()
    running.wait_for("trial 0001 epoch 5/")
    make_read_only()
    search.gate.open()
    assert running.end() == 1
    assert running.left_over(timeout_s=0) == []
    told = running.err.read_text()
    assert_one_error(told, "Read-only file system; make it writable again")
    assert "`ucluster-tune resume small`" in told
    assert read_study(search.paths).state == "interrupted"
    assert "trial 0001 interrupted after epoch" in told
    before = search.paths.record.read_bytes()
    again = search.resume()
    assert again.end() == 1
    assert_one_error(again.err.read_text(), "Read-only file system")
    assert search.paths.record.read_bytes() == before
    shown = small_study.call("status", "small", "--studies-dir", search.studies)
    assert shown.returncode == 0, shown.stderr
    make_writable()
    assert search.resume().end() == 0
    record = assert_all_agrees(search.studies, "small")
    trial = record.trials["0001"]
    assert (trial.outcome, trial.n_epochs_again) == ("complete", 0)


def assert_one_error(told, words):
    errors = [line for line in told.splitlines() if "Error" in line]
    assert len(errors) == 1, told
    assert errors[0].startswith("Error: "), told
    assert words in errors[0]
    assert "Traceback" not in told


def test_death_of_the_raylet_ends_the_search_and_it_can_be_resumed(search):
    search.gate.hold_after(5)
    running = search.run()
    running.wait_for("trial 0001 epoch 5/")
    process_of(running, "raylet/raylet").kill()
    assert running.end(timeout_s=120) == 1
    search.gate.open()
    assert running.left_over(timeout_s=30) == []
    told = running.err.read_text()
    assert_one_error(told, "Ray on this machine ended: one of its own processes")
    assert "`ucluster-tune resume small`" in told
    study = read_study(search.paths)
    assert (study.state, study.trials["0001"].outcome) == ("interrupted", "interrupted")
    again = search.resume_all()
    assert again.end() == 0
    record = assert_all_agrees(search.studies, "small")
    assert [trial.outcome for trial in record.trials.values()] == ["complete"]


class Line:
    """A way to a port of this machine that can be cut, and mended at the same place."""

    def __init__(self, target):
        self._target = target
        self.port = free_port()
        self._ends: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def mend(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self):
        assert self._listener is not None
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):  # it has ended by itself
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def _accept(self, listener):
        with contextlib.suppress(OSError):  # cut
            while True:
                here = listener.accept()[0]
                there = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_mlflow_server_that_is_away_for_a_while_gets_all_later(tmp_path, studies, jets_parquet):
    artifacts = (tmp_path / "artifacts").as_uri()
    port = free_port()
    line = Line(port)
    search = Search(studies, jets_parquet, tracking={"uri": f"http://127.0.0.1:{line.port}"})
    with MlflowServer(f"sqlite:///{tmp_path}/runs.db", artifacts, "127.0.0.1", port) as server:
        server.wait_until_it_answers()
        line.mend()
        search.gate.hold_after(5, "0001")
        search.gate.hold_after(5, "0002")
        running = search.run()
        try:
            running.wait_for("trial 0001 epoch 5/")
            line.cut()
            search.gate.hold_after(N_EPOCHS, "0001")
            running.wait_for("trial 0002 epoch 5/")  # training went on
            wait_for(lambda: "MLflow is behind the record" in search.paths.log.read_text())
            line.mend()
            search.gate.open()
            assert running.end() == 0
            assert_all_agrees(search.studies, "small")
        finally:
            running.kill()
            line.cut()


def test_study_whose_driver_is_killed_again_and_again_ends_as_if_it_never_was(
    tmp_path, jets_parquet
):
    """The short form of `python -m tests.soak`."""
    record = kill_and_resume(
        tmp_path, jets_parquet, n_kills=2, n_trials=2, seed=1, longest_life_s=15.0
    )
    assert record.n_sessions >= 2
