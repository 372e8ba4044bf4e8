"""What is refused before a study is carried on."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.study_events import (
    epoch,
    four_trials,
    started,
    study_config,
    trial_ended,
    trial_started,
)
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, StudyResumed
from ucluster_tune.study.opening import refuse_finished, refuse_other_jets, study_config_of
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord


def record_of(events: list[Any]) -> StudyRecord:
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
    return record


def one_trial(outcome: str, *events: Any) -> StudyRecord:
    return record_of(
        [
            started(study_config(budget={"n_trials": 1})),
            trial_started("0001"),
            epoch("0001", 1, 0.5),
            trial_ended("0001", outcome, 1),
            *events,
        ]
    )


def test_study_with_trials_left_may_go_on() -> None:
    refuse_finished(record_of(four_trials()[:-1]))
    refuse_finished(one_trial("interrupted"))


def test_study_with_time_left_may_go_on() -> None:
    record = one_trial("complete")
    record.until = "2999-01-01T00:00:00.000+00:00"
    refuse_finished(record)
    record.until = "2001-01-01T00:00:00.000+00:00"
    record.tests["0001"] = {}
    with pytest.raises(StudyError, match="no trial left"):
        refuse_finished(record)


def test_study_that_was_killed_before_its_test_jets_were_measured_may_go_on() -> None:
    refuse_finished(one_trial("complete", StudyEnded(state="interrupted")))


def test_finished_study_is_refused_and_extend_named() -> None:
    measured = StudyEvaluated(trial="0001", test={"clustering_accuracy": 0.5})
    record = one_trial("complete", measured, StudyEnded(state="complete"))
    with pytest.raises(StudyError, match="ucluster-tune extend jets --trials N"):
        refuse_finished(record)


def test_other_jets_are_refused_with_the_ways_out() -> None:
    record = record_of(four_trials())
    config = study_config()
    same: Any = SimpleNamespace(manifest=SimpleNamespace(dataset_checksum="abc"))
    other: Any = SimpleNamespace(manifest=SimpleNamespace(dataset_checksum="def"))
    refuse_other_jets(record, same, config)
    with pytest.raises(
        StudyError, match=r"/jets holds other jets .*checksum def, was abc"
    ) as told:
        refuse_other_jets(record, other, config)
    assert "ucluster-tune resume jets --data PATH" in str(told.value)
    assert "--warm-start jets" in str(told.value)


def test_configuration_of_another_version_names_what_does_not_fit(tmp_path: Any) -> None:
    record = record_of(four_trials())
    record.config = {**record.config, "model": {"n_wings": 2}}
    paths = StudiesFolder(tmp_path).study("jets")
    with pytest.raises(StudyError, match=r"model\.n_wings: .* made by ucluster-tune 0\.1\.0"):
        study_config_of(record, paths)


def test_time_between_two_drivers_does_not_count() -> None:
    record = record_of(
        [
            started().model_copy(update={"time": "2026-01-01T00:00:00+00:00"}),
            StudyEnded(state="interrupted", time="2026-01-01T00:10:00+00:00"),
            StudyResumed(code_version="1", host="h", time="2026-01-02T00:00:00+00:00"),
            StudyEnded(state="complete", time="2026-01-02T00:05:00+00:00"),
        ]
    )
    assert record.elapsed_before_s == 15 * 60
    assert record.n_sessions == 2
