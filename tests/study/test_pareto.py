"""The trials that no other one beats."""

from typing import Any

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.study.pareto import pareto_front
from ucluster_tune.study.record import StudyRecord


def record_of(points: dict[str, tuple[float, float]], **objective: Any) -> StudyRecord:
    """Trials by accuracy and seconds of an epoch."""
    named = {"others": ["seconds"]} | objective
    record = StudyRecord(started(study_config(objective=named)))
    for trial, (accuracy, seconds) in points.items():
        record.apply(trial_started(trial))
        record.apply(epoch(trial, 3, accuracy, seconds=seconds))
        record.apply(trial_ended(trial, "complete", 3))
    return record


def front_of(record: StudyRecord) -> list[str]:
    return [trial.id for trial in pareto_front(record)]


def test_front_holds_the_trials_that_no_other_one_beats_in_all() -> None:
    record = record_of({"0001": (0.7, 5.0), "0002": (0.6, 2.0), "0003": (0.6, 3.0)})
    assert front_of(record) == ["0001", "0002"]


def test_equal_trials_are_both_on_the_front() -> None:
    assert front_of(record_of({"0001": (0.7, 5.0), "0002": (0.7, 5.0)})) == ["0001", "0002"]


def test_direction_of_each_objective_counts() -> None:
    points = {"0001": (0.7, 5.0), "0002": (0.6, 2.0)}
    by_accuracy = record_of(points, others=["purity"])  # both are the accuracy here
    assert front_of(by_accuracy) == ["0001"]


def test_what_has_no_number_failed_or_is_of_pretraining_is_not_on_the_front() -> None:
    record = record_of({"0001": (0.5, 5.0), "0002": (0.9, float("nan")), "0003": (0.8, 1.0)})
    record.apply(trial_started("0004"))
    record.apply(epoch("0004", 1, 0.99, seconds=0.1))  # of the pretraining
    assert front_of(record) == ["0003"]
    record.apply(trial_started("0005"))
    record.apply(epoch("0005", 3, 0.99, seconds=0.1))
    record.apply(trial_ended("0005", "failed", 3))
    assert front_of(record) == ["0003"]
