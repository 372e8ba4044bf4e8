"""MLflow behind the record, and caught up: the store is a real one that can be taken away."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.agreement import assert_mlflow_agrees
from tests.mlflow_store import WithStore
from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.patience import wait_until
from ucluster_tune.study.events import Event, StudyEnded, TrialTracked
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.databases import with_password
from ucluster_tune.tracking.mlflow import mirror as mirror_module
from ucluster_tune.tracking.mlflow.mirror import MlflowMirror, unix_ms
from ucluster_tune.tracking.mlflow.tracker import Tracker

CONFIG = study_config(
    search_space={"training.learning_rate": {"type": "float", "low": 0, "high": 1}}
)


class Store:
    """A tracker that fails while the store is away, before or after it did what was asked."""

    def __init__(self, tracker: Tracker, is_away: threading.Event) -> None:
        self._tracker, self._is_away = tracker, is_away
        self.fails_after: str | None = None
        self.is_asked = threading.Event()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._tracker, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            self.is_asked.set()
            if self._is_away.is_set():
                raise StudyError("the store is away")
            result = attribute(*arguments, **options)
            if name == self.fails_after:
                self.fails_after = None
                raise StudyError("the answer was lost")
            return result

        return call


class Books:
    """A study's record and its mirror."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_away = threading.Event()
        self.store = Store(Tracker.open(TrackingConfig(), folder), self.is_away)
        first = started(CONFIG).model_copy(
            update={
                "tracking_uri": self.store.uri,
                "experiment_id": self.store.experiment_id,
            }
        )
        self.paths = StudiesFolder(folder).study("jets")
        self.paths.root.mkdir()
        self.journal = StudyJournal(self.paths.record)
        self.journal.append(first)
        self.record = StudyRecord(first)
        self.keeper = RecordKeeper(self.journal, self.record, [self])
        self.tracked: list[TrialTracked] = []
        self.ended: list[str] = []
        self.mirror = self.new_mirror()
        self.mirror.start()

    def new_mirror(self) -> MlflowMirror:
        return MlflowMirror(
            self.keeper,
            self.paths,
            self.open,
            self.begin,
            lambda trial: self.ended.append(trial.id),
        )

    def begin(self, opened: Any) -> str:
        return str(opened.start_study("jets", {}, {"study_id": self.record.study_id}))

    def open(self) -> Any:
        if self.is_away.is_set():
            raise StudyError("the store is away")
        return self.store

    def on_event(self, event: Event, record: StudyRecord) -> None:
        if isinstance(event, TrialTracked):
            self.tracked.append(event)
        self.mirror.on_event(event, record)  # whichever there is by then

    def tell(self, *events: Event) -> None:
        for event in events:
            self.keeper.note(event)

    def close(self) -> None:
        self.keeper.note(StudyEnded(state="complete"))
        assert self.mirror.close(60), self.mirror.last_failure
        self.mirror.end_study("complete", {})
        assert_mlflow_agrees(self.record)


@pytest.fixture
def books(tmp_path: Path, with_store: WithStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(mirror_module, "_FIRST_BACK_OFF_S", 0.05)
    books = Books(with_store(tmp_path))
    yield books
    books.is_away.clear()
    books.mirror.close(60)
    books.journal.close()


BEGIN = trial_started("0001", **{"training.learning_rate": 0.5})


def epochs(first: int, last: int) -> list[Event]:
    return [epoch("0001", n, 0.1 * n, inverse_temperature=2.0) for n in range(first, last + 1)]


def test_trial_is_sent_with_all_its_epochs(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
    books.close()
    assert books.ended == ["0001"]
    trial = books.record.trials["0001"]
    client = mlflow.MlflowClient(tracking_uri=with_password(books.record.tracking_uri))
    told = client.get_run(trial.run_id).info  # its own times, however late MLflow hears of them
    assert (told.start_time, told.end_time) == (unix_ms(trial.started), unix_ms(trial.ended))
    assert books.mirror.changes == []


def test_what_a_store_missed_while_it_was_away_is_sent_once_it_is_back(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 2))
    books.is_away.set()
    books.tell(*epochs(3, 5))
    assert wait_until(lambda: "away" in books.mirror.last_failure, limit_s=60)
    books.is_away.clear()
    books.tell(*epochs(6, 6), trial_ended("0001", "complete", 6))
    books.close()
    assert len(books.tracked) == 1


@pytest.mark.parametrize("call", ["start_study", "start_trial", "log_epochs", "end_trial"])
def test_call_whose_answer_was_lost_is_not_made_twice(books: Any, call: str) -> None:
    books.store.fails_after = call
    books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
    books.close()


def test_search_does_not_wait_for_a_store_that_stays_away(books: Any) -> None:
    books.is_away.set()
    books.tell(BEGIN, *epochs(1, 2))
    began = time.monotonic()
    assert not books.mirror.close(30)
    assert time.monotonic() - began < 10


def later(books: Any) -> MlflowMirror:
    """The mirror of a driver, or of a repair, that comes after a first one."""
    books.mirror.close(60)
    mirror: MlflowMirror = books.new_mirror()
    books.mirror = mirror
    return mirror


def test_later_driver_sends_what_the_first_did_not(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 2))
    mirror = later(books)
    for event in (*epochs(3, 6), trial_ended("0001", "complete", 6)):
        books.keeper.note(event)
    mirror.start()
    books.close()
    assert mirror.changes == ["trial 0001: MLflow said running with 2 epochs, now complete with 6"]


def test_epochs_that_were_run_again_with_other_results_replace_the_old_ones(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 4))
    mirror = later(books)
    mirror.start()
    time.sleep(0.01)  # the time of an event tells epochs apart
    books.tell(epoch("0001", 3, 0.9), epoch("0001", 4, 0.8), trial_ended("0001", "interrupted", 4))
    books.close()
    assert "trial 0001: MLflow had epochs that were run again, sent anew" in mirror.changes


def test_store_that_was_lost_gets_everything_again(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
    mirror = later(books)
    books.store.delete(books.record.run_id)
    mirror.start()
    books.close()
    assert mirror.changes[0] == "MLflow had no run of the study: made anew"
    assert mirror.changes[1] == "trial 0001: MLflow had no run of it, made anew"


def test_second_run_of_a_trial_is_deleted(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
    mirror = later(books)
    books.store.start_trial(books.record.run_id, "0001", {"training.learning_rate": 0.5})
    mirror.start()
    books.close()
    assert mirror.changes == ["trial 0001: a run too many in MLflow, deleted"]


def test_value_that_an_extension_gave_to_earlier_trials_is_told(books: Any) -> None:
    books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
    mirror = later(books)
    books.record.trials["0001"].hyperparameters["model.n_neighbors"] = 10
    mirror.start()
    books.close()
    assert mirror.changes == ["trial 0001: model.n_neighbors told, which MLflow lacked"]


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def test_file_that_another_process_holds_is_caught_up(books: Any) -> None:
    file = books.folder / "mlflow.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        books.store.is_asked.clear()  # as it was when the mirror began
        began = time.monotonic()
        books.tell(BEGIN, *epochs(1, 6), trial_ended("0001", "complete", 6))
        assert time.monotonic() - began < 1  # the search does not wait
        assert books.store.is_asked.wait(60)
        assert books.tracked == []
    books.close()
