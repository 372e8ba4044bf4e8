from pathlib import Path
from typing import Any

import pytest

from tests.study_answers import PLAN, confirmation, measured, result, yardsticks
from tests.study_events import epoch, started, trial_ended, trial_started
from ucluster_tune.errors import StudyError
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.events import ConfirmationEnded, StudyEnded
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import remaining_s

SEARCH: list[Any] = [
    trial_started("0001"),
    epoch("0001", 3, 0.7),
    trial_ended("0001", "complete", 6),
    StudyEnded(state="complete"),
]


@pytest.fixture
def record() -> StudyRecord:
    record = StudyRecord(started())
    for event in SEARCH:
        record.apply(event)
    return record


def test_confirmation_teaches_the_search_nothing_and_leaves_its_state(record) -> None:
    before = (record.state, record.ended, record.n_sessions, elapsed_s(record))
    events = confirmation()
    for event in events[:-1]:
        record.apply(event)
        assert not record.is_searched(event)
        assert remaining_s(record) is None
    assert (record.state, record.is_confirming) == ("running", True)
    record.apply(events[-1])
    assert (record.state, record.ended, record.n_sessions, elapsed_s(record)) == before
    assert (record.n_finished, list(record.trials), record.is_confirming) == (1, ["0001"], False)
    assert record.best is record.trials["0001"]
    assert record.best.best is not None
    assert record.best.best.clustering_accuracy == 0.7  # not the 0.99 of a finalist
    assert record.trials["0001"].trainings["c1-seed-11"].test == measured(0.66)
    assert list(record.other_trials["published"].trainings) == ["c1-seed-11", "c1-seed-12"]
    assert record.yardsticks == yardsticks()
    assert record.confirmed is not None
    assert record.confirmed.result == result()
    assert record.open_confirmation is None


def test_confirmation_that_was_interrupted_is_open(record) -> None:
    for event in confirmation(is_ended=False):
        record.apply(event)
    assert record.state == "complete"
    assert record.confirmed is None
    assert record.open_confirmation is not None
    assert record.open_confirmation.plan == PLAN


def test_record_of_a_confirmation_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    with StudyJournal(path) as journal:
        for event in [started(), *SEARCH, *confirmation()]:
            journal.append(event)
    read = read_record(path)
    assert read.confirmed is not None
    assert (read.confirmed.plan, read.confirmed.result) == (PLAN, result())
    assert read.yardsticks == yardsticks()


def test_end_of_a_confirmation_that_never_began_is_a_contradiction(record) -> None:
    with pytest.raises(StudyError, match="c1 ends and never began"):
        record.apply(ConfirmationEnded(confirmation="c1", result=result()))


def test_each_seed_is_trained_with_each_configuration() -> None:
    assert [(trial, plan.seed, plan.role) for trial, plan in PLAN.trainings()] == [
        *(("0001", 11, "final"), ("published", 11, "baseline")),
        *(("0001", 12, "final"), ("published", 12, "baseline")),
    ]
