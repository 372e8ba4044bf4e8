"""What the driver makes of Tune's calls; journal, record and files are the real ones."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import RayActorError, RayTaskError

from tests.study_events import epoch, started, study_config
from ucluster_tune.errors import StudyError
from ucluster_tune.search.allocation import Allocation, allocation_of
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.listener import TuneListener
from ucluster_tune.search.samplers.asking import StudySampler, Suggestion
from ucluster_tune.search.session import _final_state
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.journal import StudyJournal, read_events, read_record
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.trial.failures import FAILURE_KINDS, TrialFailure
from ucluster_tune.trial.trainable import EPOCH, NOTE, ResultNote


class Heard:
    """An observer that remembers."""

    def __init__(self, path):
        self.path, self.events, self.is_in_journal = path, [], []

    def on_event(self, event, record):
        self.events.append(event)
        self.is_in_journal.append(list(read_events(self.path))[-1] == event)


class Search:
    """A driver of trials of 6 epochs, of which 0001 has begun, and Tune's calls of it."""

    def __init__(self, folder, **sections):
        self.config = study_config(search_space={"training.learning_rate": RATE}, **sections)
        self.paths = StudiesFolder(folder).study("jets")
        self.paths.trials.mkdir(parents=True)
        self.journal = StudyJournal(self.paths.record)
        first = started(self.config)
        self.journal.append(first)
        self.heard = Heard(self.paths.record)
        self.keeper = RecordKeeper(self.journal, StudyRecord(first), [self.heard])
        self.driver = StudyDriver(self.config, self.paths, self.keeper)
        self.record = self.driver.record
        self.scheduler: Any = Verdicts(self.driver)
        self.given_up: list[Any] = []
        self.scheduler._controller = SimpleNamespace(
            stop_trial=self.given_up.append,
            _tune_controller=SimpleNamespace(_resetting_trials=()),
        )
        self.said: list[str] = []
        self.listener = TuneListener(self.driver, self.scheduler, self.said.append, lambda: None)
        self.begin("0001")

    def begin(self, trial_id, rate=0.5):
        config = self.driver.begin_trial(
            trial_id, Suggestion({"training.learning_rate": rate}, {})
        )
        if config is not None:
            self.listener.on_trial_start(0, [], tune_trial(trial_id))
        return config

    def report(self, number, accuracy=None, trial_id="0001", note=None, **values):
        """Have an epoch reported; return what Tune would make of it."""
        accuracy = 0.1 * number if accuracy is None else accuracy
        told = epoch(trial_id, number, accuracy, **values).record
        result = {EPOCH: told, NOTE: ResultNote(**(note or {})), "done": False}
        trial = tune_trial(trial_id)
        if self.listener(trial.trial_id, result):
            return "STOP"
        return self.scheduler.on_trial_result(None, trial, result)

    def run_epochs(self, n_epochs, trial_id="0001"):
        return [self.report(number, trial_id=trial_id) for number in range(1, n_epochs + 1)]

    def end(self, trial_id="0001", **last_result):
        self.listener.on_trial_complete(0, [], tune_trial(trial_id, **last_result))


@pytest.fixture
def make_search(tmp_path):
    """What makes the test's search, of given sections; its journal is closed at the end."""
    made: list[Search] = []

    def make(**sections):
        made.append(Search(tmp_path, **sections))
        return made[-1]

    yield make
    for search in made:
        search.journal.close()


@pytest.fixture
def search(make_search):
    """A search of trials of 6 epochs, in which trial 0001 has begun."""
    return make_search()


RATE = {"type": "float", "low": 1e-4, "high": 1.0}


def tune_trial(trial_id, **result):
    return SimpleNamespace(
        trial_id=f"tune's {trial_id}", config={"trial_id": trial_id}, last_result=result
    )


def epochs_in_journal(search):
    events = read_events(search.paths.record)
    return [event.record.epoch for event in events if event.event == "epoch"]


@pytest.mark.parametrize(
    ("n_epochs", "is_interrupted", "outcome"),
    [
        (6, False, "complete"),
        (6, True, "complete"),
        (3, True, "interrupted"),
        (0, False, "interrupted"),
    ],
)
def test_end_of_a_trial_is_told_by_its_epochs(search, n_epochs, is_interrupted, outcome):
    search.run_epochs(n_epochs)
    search.driver.is_interrupted = is_interrupted
    assert search.driver.is_in_epoch
    search.end()
    assert not search.driver.is_in_epoch
    assert search.record.trials["0001"].outcome == outcome
    assert epochs_in_journal(search) == list(range(1, n_epochs + 1))
    assert read_record(search.paths.record).trials["0001"].outcome == outcome


def test_trial_that_the_judge_stops_was_stopped_early_whoever_asks(search):
    for number in ("0001", "0002"):
        search.begin(number) if number != "0001" else None
        search.report(1, 0.5, number)
    first = [search.report(n, 0.9) for n in range(2, 6)]
    assert first == ["CONTINUE"] * 4
    told = [search.report(n, 0.1, "0002") for n in range(2, 6)]
    assert "STOP" in told
    n_epochs = told.index("STOP") + 2
    search.end("0002")
    trial = search.record.trials["0002"]
    assert (trial.outcome, trial.cause) == ("stopped_early", "stopped by asha")
    assert trial.epochs >= n_epochs


def test_every_event_is_in_the_journal_before_anybody_hears_of_it(search):
    search.run_epochs(6)
    search.end()
    assert [event.event for event in search.heard.events] == [
        *("trial_started", "trial_placed", *["epoch"] * 6, "trial_ended")
    ]
    assert all(search.heard.is_in_journal)


def test_sampler_and_scheduler_know_no_epoch_that_the_journal_has_not(search):
    sampler = StudySampler(search.config, search.record)
    search.keeper.tell(sampler)
    suggestions = Suggestions(sampler, search.driver, lambda: 8)
    tune_id = "tune's 0002"
    config = suggestions.suggest(tune_id)
    search.listener.on_trial_start(0, [], SimpleNamespace(trial_id=tune_id, config=config))
    search.keeper._journal = FullJournal()
    told = epoch("0002", 1, 0.5).record
    with pytest.raises(StudyError, match=FULL):
        search.listener(tune_id, {EPOCH: told})
    suggestions.on_trial_result(tune_id, {EPOCH: told})  # whatever Tune calls afterwards
    suggestions.on_trial_complete(tune_id, {EPOCH: told})
    known = sampler.what_it_knows()[-1]
    assert known.intermediate_values == {}
    assert known.state.name == "RUNNING"
    assert "0002" not in search.record.values_at[1]


def test_warnings_of_the_last_epoch_are_told_with_the_outcome(search):
    search.run_epochs(5)
    search.report(6, warnings=["empty cluster: no jet is nearest to centroid 2 since epoch 6"])
    search.end()
    trial = search.record.trials["0001"]
    assert (trial.outcome, trial.cause) == ("complete", "; ".join(trial.warnings))
    assert "centroid 2 since epoch 6" in trial.cause


def test_illegal_hyperparameters_fail_their_trial_alone(search):
    assert search.begin("0002", -1.0) is None
    trial = search.record.trials["0002"]
    assert trial.outcome == "failed"
    assert "training.learning_rate" in trial.cause


def test_running_trials_are_interrupted_at_the_end(search):
    search.driver.end_running_trials("why")
    search.driver.end_running_trials("again")
    assert search.record.trials["0001"].cause == "why"


def test_epoch_that_the_record_has_is_not_taken_in_again(search):
    search.run_epochs(3)
    search.report(3, jets_per_second=5.0, note={"restored_epoch": 3})
    search.report(2, clustering_accuracy=float("nan"))  # differs: what came after goes too
    assert epochs_in_journal(search) == [1, 2, 3, 2]
    assert search.record.trials["0001"].restored_epochs == [3]
    assert search.record.trials["0001"].epochs == 2
    search.report(2, clustering_accuracy=float("nan"), seconds=0.1)
    assert epochs_in_journal(search) == [1, 2, 3, 2]


def test_sampler_knows_of_an_epoch_that_was_run_again_what_the_record_knows(search):
    search.end()
    sampler = StudySampler(search.config, search.record)
    search.keeper.tell(sampler)
    search.driver.begin_trial("0002", sampler.ask("0002"))
    search.listener.on_trial_start(0, [], tune_trial("0002"))
    search.run_epochs(4, "0002")
    search.report(2, 0.7, "0002", note={"restored_epoch": 2})
    search.report(3, 0.75, "0002")
    trial = search.record.trials["0002"]
    told = sampler.what_it_knows()[-1].intermediate_values
    assert told == trial.objective_by_epoch(search.record.objective)
    assert told == {1: 0.1, 2: 0.7, 3: 0.75}
    for number in (4, 5, 6):
        search.report(number, 0.6, "0002")
    search.end("0002")
    assert sampler.what_it_knows()[-1].value == trial.score(search.record.objective) == 0.75


def test_epochs_that_only_a_checkpoint_knows_are_taken_in_with_it(search):
    search.run_epochs(2)
    earlier = tuple(epoch("0001", number, 0.1 * number).record for number in (1, 2, 3, 4))
    search.report(5, note={"restored_epoch": 5, "earlier": earlier})
    assert epochs_in_journal(search) == [1, 2, 3, 4, 5]
    trial = search.record.trials["0001"]
    assert (trial.restored_epochs, trial.n_epochs_again) == ([5], 0)


def test_workers_started_again_are_told_with_cause_and_epoch(search):
    search.run_epochs(3)
    search.report(2, note={"restored_epoch": 2, "retries": ("worker 1 died",)})
    trial = read_record(search.paths.record).trials["0001"]
    assert trial.retry_causes == ["worker 1 died"]
    assert (trial.restored_epochs, trial.n_epochs_again) == ([2], 1)
    assert trial.outcome == "running"


def failure(kind, cause):
    (found,) = [known for known in FAILURE_KINDS.values() if known.name == kind]
    return {EPOCH: None, NOTE: ResultNote(failure=TrialFailure(cause, found)), "done": True}


def test_failure_told_as_a_result_fails_the_trial_with_kind_and_cause(search):
    search.run_epochs(2)
    last = failure("training", "loss is not finite")
    search.listener("tune's 0001", last)
    search.end(**last)
    trial = search.record.trials["0001"]
    assert (trial.outcome, trial.kind, trial.cause) == ("failed", "training", "loss is not finite")
    assert not search.driver.is_interrupted


def fail(search, number, kind, cause):
    trial_id = f"{number:04d}"
    if trial_id not in search.record.trials:
        search.begin(trial_id)
    search.end(trial_id, **failure(kind, cause))


def test_search_stops_after_failures_in_a_row_for_the_same_cause(search):
    fail(search, 1, "data", "file 1 is gone")
    fail(search, 2, "training", "loss is not finite in epoch 3")
    fail(search, 3, "training", "loss is not finite in epoch 7")
    assert not search.driver.is_interrupted
    fail(search, 4, "training", "loss is not finite in epoch 1")
    assert search.driver.is_interrupted
    assert search.driver.stop_cause.startswith(
        "3 trials in a row failed for the same cause: loss is not"
    )


def test_trial_that_ends_well_ends_a_row_of_failures(search):
    fail(search, 2, "training", "loss")
    fail(search, 3, "training", "loss")
    search.run_epochs(6)
    search.end()
    fail(search, 4, "training", "loss")
    assert not search.driver.is_interrupted


FULL = "epoch-0003.ckpt: cannot be written: No space left on device"


def test_checkpoint_that_cannot_be_written_ends_the_search_and_no_trial_fails(search):
    with pytest.raises(StudyError, match=f"{FULL}.*`ucluster-tune resume jets`"):
        fail(search, 1, "checkpoint", FULL)
    assert search.record.trials["0001"].outcome == "interrupted"


def test_search_that_cannot_go_on_takes_nothing_in_any_more_and_tells_its_first_cause(
    search, tmp_path
):
    with pytest.raises(StudyError, match=FULL):
        fail(search, 1, "checkpoint", FULL)
    before = search.paths.record.read_bytes()
    for call in (
        lambda: search.listener.on_trial_start(0, [], tune_trial("0001")),
        lambda: search.report(1),
        search.end,
        lambda: lose_process(search, tmp_path, PROCESS_DIED),
        lambda: search.listener.on_trial_error(0, [], tune_trial("0001")),
        search.keeper.refuse_fatal,
    ):
        with pytest.raises(StudyError, match=FULL):
            call()
    assert search.paths.record.read_bytes() == before


def test_journal_that_cannot_be_written_ends_the_search(search):
    search.keeper._journal.close()
    search.keeper._journal = FullJournal()
    with pytest.raises(StudyError, match=FULL):
        search.report(1)
    assert FULL in str(search.keeper.fatal)
    assert search.record.trials["0001"].epochs == 0


class FullJournal:
    """A journal on a full disk."""

    def append(self, event):
        raise StudyError(FULL)


def test_trial_whose_folder_cannot_be_made_ends_the_search_and_does_not_fail(search):
    search.paths.trial("0002").root.write_text("in the way")
    with pytest.raises(StudyError, match=r"config\.yaml: cannot be written: File exists"):
        search.begin("0002")
    assert search.keeper.fatal is not None
    assert search.record.trials["0002"].outcome == "running"


PROCESS_DIED = RayActorError("f" * 32, "it died")
NODE_DIED = RayActorError("f" * 32, "The actor died because its node has died.")


def lose_process(search, folder, error):
    """Tune starts a trial again, after an error of its process."""
    trial: Any = SimpleNamespace(
        config={"trial_id": "0001"},
        pickled_error_file=str(folder / "error.pkl"),
        error_file=str(folder / "error.txt"),
    )
    (folder / "error.txt").write_text("a traceback")
    (folder / "error.pkl").write_bytes(cloudpickle.dumps(error))
    search.listener.on_trial_recover(0, [], trial)
    return trial.config.get("n_retries"), bool(search.given_up)


def test_trial_whose_process_was_lost_runs_on_up_to_its_limit(search, tmp_path):
    search.run_epochs(2)
    search.report(2, note={"restored_epoch": 2, "retries": ("worker 1 died",)})  # counts too
    assert lose_process(search, tmp_path, PROCESS_DIED) == (2, False)
    assert not search.driver.is_in_epoch
    assert search.record.trials["0001"].outcome == "running"
    assert lose_process(search, tmp_path, PROCESS_DIED) == (3, False)
    assert len(read_record(search.paths.record).trials["0001"].retry_causes) == 3
    assert lose_process(search, tmp_path, PROCESS_DIED) == (None, True)
    trial = read_record(search.paths.record).trials["0001"]
    assert (trial.outcome, trial.kind) == ("failed", "worker_lost")
    search.end()  # Tune says that it ended it
    assert search.record.trials["0001"].outcome == "failed"


def test_lost_nodes_do_not_use_up_the_limit(search, tmp_path):
    for number in range(1, 11):
        assert lose_process(search, tmp_path, NODE_DIED) == (0, False)
        trial = read_record(search.paths.record).trials["0001"]
        assert (trial.n_lost_nodes, trial.retry_causes) == (number, [])
        assert trial.is_waiting
    search.report(1, note={"restored_epoch": 0})
    assert not read_record(search.paths.record).trials["0001"].is_waiting


def test_process_that_fails_for_a_cause_that_stays_is_not_started_again(search, tmp_path):
    error = RayTaskError("setup", "a page of traceback", ZeroDivisionError("zero"))
    assert lose_process(search, tmp_path, error) == (None, True)
    trial = search.record.trials["0001"]
    assert (trial.outcome, trial.kind, trial.cause) == ("failed", "program", "a traceback")


def test_place_of_a_trial_is_told_once_for_each_wait(search, tmp_path):
    def places():
        return [e.waited_s for e in read_events(search.paths.record) if e.event == "trial_placed"]

    assert len(places()) == 1
    assert 0 <= places()[0] < 60
    search.report(1, note={"retries": ("worker 1 died",)})
    search.listener.on_trial_start(0, [], tune_trial("0001"))  # it never lost its place
    assert len(places()) == 1
    lose_process(search, tmp_path, PROCESS_DIED)
    assert search.record.trials["0001"].is_waiting
    search.listener.on_trial_start(0, [], tune_trial("0001"))
    assert len(places()) == 2
    assert not search.record.trials["0001"].is_waiting


def test_trials_that_get_no_place_within_the_limit_are_told_once_with_what_ray_has(
    search, monkeypatch
):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 2.0})
    search.end()
    search.driver.begin_trial("0002", Suggestion({"training.learning_rate": 0.5}, {}))
    assert not search.listener.stop_all()
    assert search.said == []
    search.record.trials["0002"].shown.waiting_since = "2026-01-01T00:00:00+00:00"
    for _ in range(2):
        search.listener._look_at = 0.0
        assert not search.listener.stop_all()
    assert search.said == [
        "No trial has a place after 180 s: each takes 1 CPUs and 0 GPUs,"
        " Ray has 2 CPUs (2 free), 0 GPUs (0 free)"
    ]


def allocation(seconds: float) -> Allocation:
    return Allocation(datetime.now(UTC) + timedelta(seconds=seconds), "--until")


@pytest.mark.parametrize(
    ("seconds_left", "epoch_s", "is_time_up"), [(85, 1, True), (300, 1, False), (300, 200, True)]
)
def test_search_stops_in_time_for_the_end_of_its_machines(
    search, seconds_left, epoch_s, is_time_up
):
    search.driver._allocation = allocation(seconds_left)
    search.report(1, seconds=epoch_s)
    search.listener.stop_all()
    assert (search.report(2, seconds=epoch_s) == "STOP") is is_time_up
    search.end()
    if is_time_up:
        assert search.said[0].startswith("the allocation ends at ")
        assert search.record.trials["0001"].outcome == "interrupted"
        state, cause = _final_state(search.driver)
        assert state == "interrupted"
        assert cause is not None
        assert cause.endswith("(--until)")


def test_slurm_tells_when_its_job_ends_and_the_user_knows_better():
    end = datetime(2027, 1, 1, tzinfo=UTC)
    environment = {"SLURM_JOB_END_TIME": str(int(end.timestamp()))}
    assert allocation_of(None, environment) == Allocation(end, "SLURM_JOB_END_TIME")
    sooner = end - timedelta(hours=1)
    assert allocation_of(sooner, environment) == Allocation(sooner, "--until")
    assert allocation_of(None, {"SLURM_JOB_END_TIME": "Unknown"}) is None


def test_hours_used_up_end_running_trials_in_order_after_their_epoch(make_search, monkeypatch):
    search = make_search(budget={"n_trials": 4, "core_hours": 0.5})
    an_hour_later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    monkeypatch.setattr("ucluster_tune.study.budget.utc_now", lambda: an_hour_later)
    assert not search.listener.stop_all()  # the trial is in its epoch, and finishes it
    assert search.report(1) == "STOP"
    (said,) = search.said
    assert "core-hours reached, budget.core_hours is 0.5: stopping after the running" in said
    search.end()
    assert search.record.trials["0001"].outcome == "interrupted"
    assert search.listener.stop_all()
    # It has come to its end: the best is measured, the report written.
    assert _final_state(search.driver) == ("complete", search.driver.pause_cause)
