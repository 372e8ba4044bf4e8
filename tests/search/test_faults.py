"""Processes that die under a search: what goes on, what is kept, and that all agrees then."""

import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.soak import kill_and_resume
from ucluster_tune.search.paths import StudiesFolder
from ucluster_tune.search.status import read_study
from ucluster_tune.search.tracking_server import MlflowServer, choose_port

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.faults]

N_EPOCHS = 150  # a few seconds of a small network
SPACE = {"loss.clustering_weight": {"type": "float", "low": 1.0, "high": 100.0, "log": True}}


class Search:
    """A search of a small study, and the commands that carry it on."""

    def __init__(self, folder, jets, n_trials=2, **sections):
        self.folder, self.studies = folder, folder / "studies"
        self.paths = StudiesFolder(self.studies).study("small")
        self.file = small_study.write_study(
            folder / "small.yaml",
            jets,
            training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
            search_space=SPACE,
            budget={"n_trials": n_trials},
            **sections,
        )
        self.started = []

    def run(self):
        return self._start("run", self.file)

    def resume(self):
        return self._start("resume", "small")

    def _start(self, *arguments):
        running = small_study.RunningCommand(
            self.folder, *arguments, "--studies-dir", self.studies
        )
        self.started.append(running)
        return running


@pytest.fixture
def search(tmp_path, jets_parquet):
    search = Search(tmp_path, jets_parquet, n_trials=1)
    yield search
    for running in search.started:
        running.kill()


def process_of(running, text):
    found = [p for p in running.note_processes() if text in small_study.command_line(p)]
    titles = [small_study.command_line(p).strip() for p in running.note_processes()]
    assert found, [title for title in titles if title.startswith("ray::")]
    return found[0]


def test_trial_goes_on_elsewhere_when_its_process_is_killed(search):
    running = search.run()
    running.wait_for("trial 0001 epoch 5/")
    process_of(running, "ray::ResourceTrainable").kill()
    running.wait_for("trial 0001 goes on")
    assert running.end() == 0
    assert running.left_over(timeout_s=0) == []
    record = assert_all_agrees(search.studies, "small")
    trial = record.trials["0001"]
    assert (trial.outcome, len(trial.retry_causes)) == ("complete", 1)
    assert trial.restored_epochs[0] >= 5
    assert trial.n_epochs_again == 0


def test_death_of_the_raylet_ends_the_search_and_it_can_be_resumed(search):
    running = search.run()
    running.wait_for("trial 0001 epoch 5/")
    process_of(running, "raylet/raylet").kill()
    assert running.end(timeout_s=120) != 0
    assert running.left_over(timeout_s=30) == []
    assert read_study(search.paths).state in ("interrupted", "failed")
    again = search.resume()
    assert again.end() == 0
    record = assert_all_agrees(search.studies, "small")
    assert [trial.outcome for trial in record.trials.values()] == ["complete"]


def test_mlflow_server_that_is_away_for_a_while_gets_all_later(tmp_path, jets_parquet):
    port = choose_port("127.0.0.1", None)

    def server():
        artifacts = (tmp_path / "artifacts").as_uri()
        return MlflowServer(f"sqlite:///{tmp_path}/runs.db", artifacts, "127.0.0.1", port)

    search = Search(tmp_path, jets_parquet, tracking={"uri": f"http://127.0.0.1:{port}"})
    with server() as first:
        first.wait_until_it_answers()
        running = search.run()
        try:
            running.wait_for("trial 0001 epoch 5/")
        except BaseException:
            running.kill()
            raise
    try:
        running.wait_for("trial 0002 epoch 5/")  # training went on
        with server() as second:
            second.wait_until_it_answers()
            if running.process.poll() is None:
                running.end()
            mended = small_study.call("repair", "small", "--studies-dir", search.studies)
            assert mended.returncode == 0, mended.stdout + mended.stderr
            assert_all_agrees(search.studies, "small")
    finally:
        running.kill()
    assert running.process.returncode == 0
    assert "MLflow is behind the record" in search.paths.log.read_text()


def test_study_whose_driver_is_killed_again_and_again_ends_as_if_it_never_was(
    tmp_path, jets_parquet
):
    """The short form of `python -m tests.soak`."""
    record = kill_and_resume(tmp_path, jets_parquet, n_kills=2, n_trials=3, seed=4)
    assert record.n_sessions >= 2
