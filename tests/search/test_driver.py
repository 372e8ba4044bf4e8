"""What the driver makes of Tune's calls; journal, record and files are the real ones."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import RayActorError, RayTaskError

from tests.study_events import epoch, started, study_config
from ucluster_tune.errors import StudyError
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.study.journal import StudyJournal, read_events, read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord


@pytest.fixture
def driver(tmp_path):
    """A driver of a study of trials of 6 epochs, in which trial 0001 has begun."""
    config = study_config(search_space={"training.learning_rate": RATE})
    paths = StudiesFolder(tmp_path).study("jets")
    paths.trials.mkdir(parents=True)
    with StudyJournal(paths.record) as journal:
        first = started(config)
        journal.append(first)
        driver: Any = StudyDriver(config, paths, journal, StudyRecord(first), [])
        driver.news = []
        driver.trial_changed = driver.news.append
        assert driver.begin_trial("0001", {"training.learning_rate": 0.5}) is not None
        driver.on_trial_start(0, [], TRIAL)
        yield driver


RATE = {"type": "float", "low": 1e-4, "high": 1.0}
TRIAL: Any = SimpleNamespace(config={"trial_id": "0001"}, last_result={})


def tune_trial(trial_id, **result):
    return SimpleNamespace(config={"trial_id": trial_id}, last_result=result)


def report(driver, number, accuracy=None, **extra):
    record = epoch("0001", number, 0.1 * number if accuracy is None else accuracy).record
    record |= {"inverse_temperature": 0.0, "done": False, "trial_id": "tune's"}
    driver.on_trial_result(0, [], TRIAL, record | extra)


def run_epochs(driver, n_epochs):
    for number in range(1, n_epochs + 1):
        report(driver, number)


def epochs_in_journal(driver):
    events = read_events(driver.paths.record)
    return [event.record["epoch"] for event in events if event.event == "epoch"]


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
    assert epochs_in_journal(driver) == list(range(1, n_epochs + 1))
    assert driver.news == ["0001"] * (n_epochs + 2)
    assert read_record(driver.paths.record).trials["0001"].outcome == outcome


def test_warnings_of_the_last_epoch_are_told_with_the_outcome(driver):
    run_epochs(driver, 5)
    report(driver, 6, warnings=["empty cluster: no jet is nearest to centroid 2 since epoch 6"])
    driver.on_trial_complete(0, [], TRIAL)
    trial = driver.record.trials["0001"]
    assert (trial.outcome, trial.cause) == ("complete", "; ".join(trial.warnings))
    assert "centroid 2 since epoch 6" in trial.cause


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
    assert driver.record.trials["0001"].cause == "why"


def test_epoch_that_the_record_has_is_not_taken_in_again(driver):
    run_epochs(driver, 3)
    report(driver, 3, jets_per_second=5.0, restored_epoch=3)
    report(driver, 2, clustering_accuracy=float("nan"))  # differs: what came after goes too
    assert epochs_in_journal(driver) == [1, 2, 3, 2]
    assert driver.record.trials["0001"].restored_epochs == [3]
    assert driver.record.trials["0001"].epochs == 2
    report(driver, 2, clustering_accuracy=float("nan"), seconds=0.1)
    assert epochs_in_journal(driver) == [1, 2, 3, 2]


def test_epochs_that_only_a_checkpoint_knows_are_taken_in_with_it(driver):
    run_epochs(driver, 2)
    earlier = [epoch("0001", number, 0.1 * number).record for number in (1, 2, 3, 4)]
    report(driver, 5, restored_epoch=5, earlier=earlier)
    assert epochs_in_journal(driver) == [1, 2, 3, 4, 5]
    trial = driver.record.trials["0001"]
    assert (trial.restored_epochs, trial.n_epochs_again) == ([5], 0)


def test_workers_started_again_are_told_with_cause_and_epoch(driver):
    run_epochs(driver, 3)
    report(driver, 2, restored_epoch=2, retries=["worker 1 died"])
    trial = read_record(driver.paths.record).trials["0001"]
    assert trial.retry_causes == ["worker 1 died"]
    assert (trial.restored_epochs, trial.n_epochs_again) == ([2], 1)
    assert trial.outcome == "running"


def test_failure_told_as_a_result_fails_the_trial_with_kind_and_cause(driver):
    run_epochs(driver, 2)
    last = {"failure": "loss is not finite", "failure_kind": "training", "retries": []}
    driver.on_trial_result(0, [], TRIAL, last)
    driver.on_trial_complete(0, [], tune_trial("0001", **last))
    trial = driver.record.trials["0001"]
    assert (trial.outcome, trial.kind, trial.cause) == ("failed", "training", "loss is not finite")
    assert not driver.is_interrupted


def fail(driver, number, kind, cause):
    trial_id = f"{number:04d}"
    if trial_id not in driver.record.trials:
        driver.begin_trial(trial_id, {"training.learning_rate": 0.5})
    last = {"failure": cause, "failure_kind": kind}
    driver.on_trial_complete(0, [], tune_trial(trial_id, **last))


def test_search_stops_after_failures_in_a_row_for_the_same_cause(driver):
    fail(driver, 1, "data", "file 1 is gone")
    fail(driver, 2, "training", "loss is not finite in epoch 3")
    fail(driver, 3, "training", "loss is not finite in epoch 7")
    assert not driver.is_interrupted
    fail(driver, 4, "training", "loss is not finite in epoch 1")
    assert driver.is_interrupted
    assert driver.stop_cause.startswith("3 trials in a row failed for the same cause: loss is not")


def test_trial_that_ends_well_ends_a_row_of_failures(driver):
    fail(driver, 2, "training", "loss")
    fail(driver, 3, "training", "loss")
    run_epochs(driver, 6)
    driver.on_trial_complete(0, [], TRIAL)
    fail(driver, 4, "training", "loss")
    assert not driver.is_interrupted


FULL = "epoch-0003.ckpt: cannot be written: No space left on device"


def test_checkpoint_that_cannot_be_written_ends_the_search_and_no_trial_fails(driver):
    with pytest.raises(StudyError, match=f"{FULL}.*`ucluster-tune resume jets`"):
        fail(driver, 1, "checkpoint", FULL)
    assert driver.record.trials["0001"].outcome == "interrupted"


def test_search_that_cannot_go_on_takes_nothing_in_any_more_and_tells_its_first_cause(
    driver, tmp_path
):
    with pytest.raises(StudyError, match=FULL):
        fail(driver, 1, "checkpoint", FULL)
    before = driver.paths.record.read_bytes()
    for call in (
        lambda: driver.on_trial_start(0, [], TRIAL),
        lambda: report(driver, 1),
        lambda: driver.on_trial_complete(0, [], TRIAL),
        lambda: lose_process(driver, tmp_path, PROCESS_DIED),
        lambda: driver.on_trial_error(0, [], TRIAL),
        driver.refuse_fatal,
    ):
        with pytest.raises(StudyError, match=FULL):
            call()
    assert driver.paths.record.read_bytes() == before


def test_journal_that_cannot_be_written_ends_the_search(driver):
    driver._journal.close()
    driver._journal = FullJournal()
    with pytest.raises(StudyError, match=FULL):
        report(driver, 1)
    assert FULL in str(driver.fatal)
    assert driver.record.trials["0001"].epochs == 0


class FullJournal:
    """A journal on a full disk."""

    def append(self, event):
        raise StudyError(FULL)


def test_trial_whose_folder_cannot_be_made_ends_the_search_and_does_not_fail(driver):
    driver.paths.trial("0002").root.write_text("in the way")
    with pytest.raises(StudyError, match=r"config\.yaml: cannot be written: File exists"):
        driver.begin_trial("0002", {"training.learning_rate": 0.5})
    assert driver.fatal is not None
    assert driver.record.trials["0002"].outcome == "running"


PROCESS_DIED = RayActorError("f" * 32, "it died")
NODE_DIED = RayActorError("f" * 32, "The actor died because its node has died.")


def lose_process(driver, folder, error):
    """Tune starts a trial again, after an error of its process."""
    trial: Any = SimpleNamespace(
        config={"trial_id": "0001"},
        pickled_error_file=str(folder / "error.pkl"),
        error_file=str(folder / "error.txt"),
    )
    (folder / "error.txt").write_text("a traceback")
    (folder / "error.pkl").write_bytes(cloudpickle.dumps(error))
    given_up: list[Any] = []
    driver.give_up = given_up.append
    driver.on_trial_recover(0, [], trial)
    return trial.config.get("n_retries"), bool(given_up)


def test_trial_whose_process_was_lost_runs_on_up_to_its_limit(driver, tmp_path):
    run_epochs(driver, 2)
    report(driver, 2, restored_epoch=2, retries=["worker 1 died"])  # counts too
    assert lose_process(driver, tmp_path, PROCESS_DIED) == (2, False)
    assert not driver.is_in_epoch
    assert driver.record.trials["0001"].outcome == "running"
    assert lose_process(driver, tmp_path, PROCESS_DIED) == (3, False)
    assert len(read_record(driver.paths.record).trials["0001"].retry_causes) == 3
    assert not driver.has_failed("0001")
    assert lose_process(driver, tmp_path, PROCESS_DIED) == (None, True)
    trial = read_record(driver.paths.record).trials["0001"]
    assert (trial.outcome, trial.kind) == ("failed", "worker_lost")
    assert driver.has_failed("0001")
    driver.on_trial_complete(0, [], TRIAL)  # Tune says that it ended it
    assert driver.record.trials["0001"].outcome == "failed"


def test_lost_nodes_do_not_use_up_the_limit(driver, tmp_path):
    for number in range(1, 11):
        assert lose_process(driver, tmp_path, NODE_DIED) == (0, False)
        trial = read_record(driver.paths.record).trials["0001"]
        assert (trial.n_lost_nodes, trial.retry_causes) == (number, [])
        assert trial.is_waiting
    report(driver, 1, restored_epoch=0)
    assert not read_record(driver.paths.record).trials["0001"].is_waiting


def test_process_that_fails_for_a_cause_that_stays_is_not_started_again(driver, tmp_path):
    error = RayTaskError("setup", "a page of traceback", ZeroDivisionError("zero"))
    assert lose_process(driver, tmp_path, error) == (None, True)
    trial = driver.record.trials["0001"]
    assert (trial.outcome, trial.kind, trial.cause) == ("failed", "program", "a traceback")


def test_place_of_a_trial_is_told_once_for_each_wait(driver, tmp_path):
    def places():
        return [e.waited_s for e in read_events(driver.paths.record) if e.event == "trial_placed"]

    assert len(places()) == 1
    assert 0 <= places()[0] < 60
    report(driver, 1, retries=["worker 1 died"])
    driver.on_trial_start(0, [], TRIAL)  # it never lost its place
    assert len(places()) == 1
    lose_process(driver, tmp_path, PROCESS_DIED)
    assert driver.record.trials["0001"].is_waiting
    driver.on_trial_start(0, [], TRIAL)
    assert len(places()) == 2
    assert not driver.record.trials["0001"].is_waiting
