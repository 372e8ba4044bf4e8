"""What is refused before a study is carried on."""

from pathlib import Path
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
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, StudyResumed
from ucluster_tune.study.extension import Extension
from ucluster_tune.study.journal import StudyJournal, read_events, read_record
from ucluster_tune.study.knowledge import first_point
from ucluster_tune.study.opening import (
    StudyToDrive,
    known_study,
    new_study,
    refuse_finished,
    refuse_other_jets,
    study_config_of,
)
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
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
    record.budget = BudgetConfig(n_trials=None, until="2999-01-01T00:00:00.000+00:00")
    refuse_finished(record)
    record.budget = BudgetConfig(n_trials=None, until="2001-01-01T00:00:00.000+00:00")
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
    config = study_config()
    study = StudyToDrive(StudiesFolder(Path("/s")).study("jets"), config, record_of(four_trials()))
    same: Any = SimpleNamespace(manifest=SimpleNamespace(dataset_checksum="abc"))
    other: Any = SimpleNamespace(manifest=SimpleNamespace(dataset_checksum="def"))
    refuse_other_jets(study, same, config)
    with pytest.raises(
        StudyError, match=r"/jets holds other jets .*checksum def, was abc"
    ) as told:
        refuse_other_jets(study, other, config)
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


@pytest.fixture
def folder(tmp_path: Path) -> StudiesFolder:
    return StudiesFolder(tmp_path)


def leave(folder: StudiesFolder, events: list[Any]) -> StudyPaths:
    """Leave a study as a driver that was killed does."""
    paths = folder.study("jets")
    paths.root.mkdir()
    with StudyJournal(paths.record) as journal:
        for event in events:
            journal.append(event)
    return paths


def test_new_study_has_nothing_to_resume_and_makes_nothing_yet(folder: StudiesFolder) -> None:
    study = new_study(folder, study_config())
    assert (study.record, study.news, study.remarks) == (None, (), ())
    assert not study.paths.root.exists()
    study.paths.root.mkdir()
    with StudyJournal(study.paths.record) as journal:
        record = study.begin(journal, started())
    assert (record.state, len(record.trials)) == ("running", 0)
    assert [event.event for event in read_events(study.paths.record)] == ["study_started"]


def test_new_study_is_refused_where_it_exists(folder: StudiesFolder) -> None:
    leave(folder, four_trials())
    with pytest.raises(StudyError, match="study jets exists already"):
        new_study(folder, study_config())


def test_new_study_says_where_another_one_may_mislead_it(folder: StudiesFolder) -> None:
    leave(folder, four_trials())
    config = study_config(name="wider", model={"n_neighbors": 12})
    study = new_study(folder, config, warm_start="jets")
    assert study.warm_start is not None
    assert study.warm_start.study == "jets"
    (warning,) = study.remarks
    assert "differ from the new ones in model.n_neighbors:" in warning


SPACE = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}


def test_the_published_recipe_is_not_run_again_where_the_other_study_has_it(
    folder: StudiesFolder,
) -> None:
    leave(folder, four_trials())
    config = study_config(name="wider", search_space=SPACE)
    study = new_study(folder, config, warm_start="jets")
    assert study.remarks == (
        "The published recipe is not run again: it is trial 0001 of study jets",
    )
    begun = started(config).model_copy(update={"warm_start": study.warm_start})
    assert first_point(config, StudyRecord(begun)) is None
    assert first_point(config, StudyRecord(started(config))) == {"training.learning_rate": 1e-3}


@pytest.mark.parametrize("high", [5e-4, 1e-1])
def test_a_recipe_that_would_be_another_one_here_is_run(
    folder: StudiesFolder, high: float
) -> None:
    leave(folder, four_trials())
    other = {"model": {"n_neighbors": 12}} if high == 1e-1 else {}
    space = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": high}}
    config = study_config(name="wider", search_space=space, **other)
    begun = started(config).model_copy(
        update={"warm_start": new_study(folder, config, warm_start="jets").warm_start}
    )
    assert first_point(config, StudyRecord(begun)) is not None


def test_killed_study_is_closed_in_its_journal_before_it_goes_on(folder: StudiesFolder) -> None:
    paths = leave(folder, four_trials())
    with known_study(folder, "jets", Extension(n_trials=3)) as study:
        with pytest.raises(StudyError, match="is being run"), known_study(folder, "jets"):
            pass
        assert study.config.budget.n_trials == 7
        n_before = len(list(read_events(paths.record)))
        assert n_before == len(four_trials())
        resumed = StudyResumed(code_version="1", host="h", fitted={"resources.gpus_per_worker": 0})
        with StudyJournal(paths.record) as journal:
            record = study.begin(journal, resumed)
    added = [event.event for event in read_events(paths.record)][n_before:]
    assert added == ["trial_ended", "study_ended", "study_extended", "study_resumed"]
    assert (record.state, record.n_trials) == ("running", 7)
    assert record.fitted == {"resources.gpus_per_worker": 0}
    assert load_study_config(paths.study_yaml).budget.n_trials == 7
    assert record.config == read_record(paths.record).config


def test_study_with_nothing_left_stays_as_it_is(folder: StudiesFolder) -> None:
    measured = StudyEvaluated(trial="0001", test={"clustering_accuracy": 0.5})
    ended = [
        started(study_config(budget={"n_trials": 1})),
        *(trial_started("0001"), epoch("0001", 1, 0.5), trial_ended("0001", "complete", 1)),
        *(measured, StudyEnded(state="complete")),
    ]
    paths = leave(folder, ended)
    before = paths.record.read_bytes()
    with pytest.raises(StudyError, match="no trial left"), known_study(folder, "jets"):
        pass
    assert paths.record.read_bytes() == before


def test_a_copy_of_a_study_that_broke_off_is_told_with_ways_out(folder: StudiesFolder) -> None:
    paths = leave(folder, four_trials())
    paths.trial("0001").root.mkdir(parents=True)
    paths.study_yaml.touch()
    paths.record.write_bytes(b"")
    with pytest.raises(StudyError, match=r"without a record.*remove the folder, or give the new"):
        new_study(folder, study_config())
    with pytest.raises(StudyError, match="or a copy of it broke off; remove"):
        read_record(paths.record)
    paths.record.unlink()
    with pytest.raises(StudyError, match="without a record"):
        new_study(folder, study_config())
