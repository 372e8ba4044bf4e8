"""What an extension may change, and what the record keeps of it."""

from typing import Any

import pytest

from tests.study_events import four_trials, study_config
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.study.budget import is_left
from ucluster_tune.study.events import StudyExtended
from ucluster_tune.study.extension import Extension, extend
from ucluster_tune.study.record import StudyRecord

SPACE = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}


def study() -> tuple[StudyConfig, StudyRecord]:
    config = study_config(search_space=SPACE)
    first, *others = four_trials()
    record = StudyRecord(first.model_copy(update={"config": config.model_dump(mode="json")}))
    for event in others:
        record.apply(event)
    return config, record


def extended(*overrides: str, **asked: Any) -> StudyRecord:
    config, record = study()
    event = extend(config, record, Extension(overrides=overrides, **asked))
    record.apply(event)
    return record


def test_trials_are_added_to_those_asked_for() -> None:
    assert extended(n_trials=5).n_trials == 9


def test_a_budget_can_be_lowered_to_the_trials_that_were_begun() -> None:
    assert extended("budget.n_trials=4").n_trials == 4
    with pytest.raises(ConfigurationError, match="4 trials were begun already, and 3 are fewer"):
        extended("budget.n_trials=3")


def test_hours_set_an_end_in_place_of_a_number() -> None:
    record = extended(hours=2)
    assert record.is_open_ended
    assert record.n_trials == len(record.trials)
    (change,) = record.extensions[0]
    assert change.startswith("trials begin until ")
    assert extended_again(record, n_trials=3).n_trials == len(record.trials) + 3


def extended_again(record: StudyRecord, **asked: Any) -> StudyRecord:
    config = StudyConfig.model_validate(record.config)
    record.apply(extend(config, record, Extension(**asked)))
    return record


def test_ranges_may_change_and_the_record_says_how() -> None:
    record = extended("search_space.training.learning_rate.high=0.01", n_trials=1)
    assert record.config["search_space"]["training.learning_rate"]["high"] == 0.01
    assert any("high 0.1" in line and "high 0.01" in line for line in record.extensions[0])


def test_value_searched_from_now_on_is_known_of_the_trials_so_far() -> None:
    new = "search_space.loss.clustering_weight={type: float, low: 1, high: 100}"
    record = extended(new, n_trials=1)
    assert {t.hyperparameters["loss.clustering_weight"] for t in record.trials.values()} == {10.0}


@pytest.mark.parametrize(
    "free",
    [
        "sampler.name=random",
        "scheduler.grace_period=2",
        "resources.max_concurrent_trials=1",
        "failures.max_retries=9",
        "data.path=/elsewhere",
        "data.shuffle_buffer_jets=1000",
    ],
)
def test_how_the_search_goes_on_may_change(free: str) -> None:
    assert extended(free, n_trials=1).extensions[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("data.mass_max_gev=150", "other jets give other accuracies"),
        ("objective.metric=ari", "trials are ranked by it"),
        ("model.n_clusters=4", "no trials of the same kind"),
        ("training.n_epochs=7", "no trials of the same kind"),
        ("resources.workers_per_trial=2", "each worker normalises its batches alone"),
        ("name=other", "name of the study's folder"),
        ("search_space.training.learning_rate=null", "cannot be taken out"),
        (
            "search_space.training.learning_rate={type: categorical, choices: [0.001]}",
            "cannot change from float to categorical",
        ),
    ],
)
def test_change_that_makes_trials_incomparable_is_refused(change: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        extended(change, n_trials=1)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as told:
        extended("model.n_clusters=4", "objective.metric=ari", n_trials=1)
    assert len(told.value.faults) == 2


def test_time_of_a_study_extended_by_an_older_version_limits_it_still() -> None:
    _, record = study()
    config = {**record.config, "budget": {"n_trials": 1_000_000}}
    record.apply(StudyExtended(config=config, until="2999-01-01T00:00:00.000+00:00"))
    assert record.is_open_ended
    assert is_left(record)
    assert StudyConfig.model_validate(record.config).budget == record.budget
    record.apply(StudyExtended(config=config, until="2001-01-01T00:00:00.000+00:00"))
    assert not is_left(record)


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        ({"n_trials": 5}, True),
        ({"n_trials": 4}, False),
        ({"n_trials": None, "until": "2999-01-01T00:00:00+00:00"}, True),
        ({"n_trials": None, "until": "2001-01-01T00:00:00+00:00"}, False),
        ({"n_trials": 5, "until": "2001-01-01T00:00:00+00:00"}, False),
        ({"n_trials": 4, "until": "2999-01-01T00:00:00+00:00"}, False),
    ],
)
def test_no_trial_begins_once_one_limit_is_reached(budget: dict[str, Any], left: bool) -> None:
    _, record = study()
    assert len(record.trials) == 4
    record.budget = BudgetConfig(**budget)
    assert is_left(record) is left
