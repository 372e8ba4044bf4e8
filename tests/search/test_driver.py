"""What the driver makes of Tune's calls; journal, record and files are the real ones."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import RayTaskError

from tests.study_events import epoch, started, study_config
from ucluster_tune.errors import TrialError
from ucluster_tune.search.driver import StudyDriver, failure_cause
from ucluster_tune.search.journal import StudyJournal, read_record
from ucluster_tune.search.paths import StudiesFolder
from ucluster_tune.search.record import StudyRecord


class Runs:
    """In place of an MLflow server: remembers what it is told."""

    def __init__(self):
        self.ended = {}
        self.epochs = []

    def start_trial(self, _study_run, trial_id, _hyperparameters):
        return f"run-{trial_id}"

    def log_epoch(self, run_id, record, _reference_accuracy):
        self.epochs.append((run_id, record["epoch"]))

    def log_artifacts(self, *_paths, **_options):
        pass

    def end_trial(self, run_id, outcome, cause):
        self.ended[run_id] = (outcome, cause)


@pytest.fixture
def driver(tmp_path):
    """A driver of a study of trials of 6 epochs, in which trial 0001 has begun."""
    config = study_config(search_space={"training.learning_rate": RATE})
    paths = StudiesFolder(tmp_path).study("jets")
    paths.trials.mkdir(parents=True)
    with StudyJournal(paths.record) as journal:
        first = started(config)
        journal.append(first)
        runs: Any = Runs()
        driver: Any = StudyDriver(
            config, paths, journal, StudyRecord(first), runs, [], no_pictures
        )
        assert driver.begin_trial("0001", {"training.learning_rate": 0.5}) is not None
        driver.on_trial_start(0, [], TRIAL)
        driver.runs = runs
        yield driver


RATE = {"type": "float", "low": 1e-4, "high": 1.0}
TRIAL: Any = SimpleNamespace(config={"trial_id": "0001"})


def no_pictures(_evaluation, _folder):
    return []


def run_epochs(driver, n_epochs):
    for number in range(1, n_epochs + 1):
        record = epoch("0001", number, 0.1 * number).record | {"inverse_temperature": 0.0}
        driver.on_trial_result(0, [], TRIAL, record | {"done": False, "trial_id": "tune's"})


@pytest.mark.parametrize(
    ("n_epochs", "is_interrupted", "outcome"),
    [
        (6, False, "complete"),
        (6, True, "complete"),
        (3, False, "stopped_early"),
        (3, True, "interrupted"),
        (0, False, "interrupted"),
    ],
)
def test_end_of_a_trial_is_told_by_its_epochs(driver, n_epochs, is_interrupted, outcome):
    run_epochs(driver, n_epochs)
    driver.is_interrupted = is_interrupted
    assert driver.is_in_epoch
    driver.on_trial_complete(0, [], TRIAL)
    assert not driver.is_in_epoch
    assert driver.record.trials["0001"].outcome == outcome
    assert driver.runs.ended["run-0001"][0] == outcome
    assert driver.runs.epochs == [("run-0001", number) for number in range(1, n_epochs + 1)]
    assert read_record(driver.paths.record).trials["0001"].outcome == outcome


def test_only_fields_of_the_record_are_kept(driver):
    run_epochs(driver, 1)
    (record,) = driver.record.trials["0001"].records
    assert "done" not in record
    assert "trial_id" not in record


def test_illegal_hyperparameters_fail_their_trial_alone(driver):
    assert driver.begin_trial("0002", {"training.learning_rate": -1.0}) is None
    trial = driver.record.trials["0002"]
    assert trial.outcome == "failed"
    assert "training.learning_rate" in trial.cause


def test_running_trials_are_interrupted_at_the_end(driver):
    driver.end_running_trials("why")
    driver.end_running_trials("again")
    assert driver.runs.ended == {"run-0001": ("interrupted", "why")}


def failed_trial(folder, error):
    """A trial as Tune leaves it when an actor's call raised an error."""
    trial: Any = SimpleNamespace(
        pickled_error_file=str(folder / "error.pkl"), error_file=str(folder / "error.txt")
    )
    (folder / "error.txt").write_text("Failure # 1\na traceback\n")
    if error is not None:
        (folder / "error.pkl").write_bytes(cloudpickle.dumps(error))
    return trial


def test_cause_of_a_failure_is_the_message_of_a_known_error(tmp_path):
    error = RayTaskError("step", "a page of traceback", TrialError("worker 1 died"))
    assert failure_cause(failed_trial(tmp_path, error)) == "worker 1 died"


def test_cause_of_an_unknown_failure_is_its_traceback(tmp_path):
    error = RayTaskError("step", "a page of traceback", ZeroDivisionError("zero"))
    assert "a traceback" in failure_cause(failed_trial(tmp_path, error))
    assert "a traceback" in failure_cause(failed_trial(tmp_path, None))
