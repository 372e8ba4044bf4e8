"""Which limit of a budget ends a search, by the record alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import ConfigurationError, StudyError
from ucluster_tune.report.study_tables import spent_words
from ucluster_tune.study.budget import is_left, overspent, spent, used_up
from ucluster_tune.study.events import StudyEnded, StudyResumed, TrialPlaced, TrialResumed
from ucluster_tune.study.opening import refuse_finished
from ucluster_tune.study.record import StudyRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


class Told:
    """A record whose events come a minute after each other."""

    def __init__(self, resources: Any = None, **budget: Any) -> None:
        config = study_config(budget={"n_trials": 100} | budget, resources=resources or {})
        self.record = StudyRecord(started(config).model_copy(update={"time": self.time(0)}))
        self.minutes = 0

    def time(self, minutes: int) -> str:
        return (START + timedelta(minutes=minutes)).isoformat()

    def note(self, event: Any) -> None:
        self.minutes += 1
        self.record.apply(event.model_copy(update={"time": self.time(self.minutes)}))

    def trial(self, number: int, *accuracies: float, outcome: Any = "complete") -> None:
        name = f"{number:04d}"
        self.note(trial_started(name))
        for place, accuracy in enumerate(accuracies, start=1):
            self.note(epoch(name, place, accuracy))
        self.note(trial_ended(name, outcome, len(accuracies)))


def test_number_of_trials() -> None:
    told = Told(n_trials=2)
    told.trial(1, 0.5)
    assert is_left(told.record)
    told.trial(2, 0.5)
    assert used_up(told.record) == "2 of 2 trials were begun"


def test_epochs_of_all_trials_together() -> None:
    told = Told(n_trials=None, total_epochs=5)
    told.trial(1, 0.1, 0.2, 0.3)
    assert is_left(told.record)
    told.trial(2, 0.1, 0.2)
    assert used_up(told.record) == "5 epochs were run, budget.total_epochs is 5"


def test_hours_count_the_work_and_not_the_break() -> None:
    told = Told(hours=0.21)
    told.trial(1, *[0.1] * 5)  # 8 minutes with its end
    told.note(StudyEnded(state="interrupted"))
    assert is_left(told.record)
    told.minutes += 600
    told.note(StudyResumed(code_version="1", host="here"))
    told.trial(2, 0.1)
    told.note(StudyEnded(state="interrupted"))  # 4 more
    assert is_left(told.record)
    told.note(StudyResumed(code_version="1", host="here"))
    told.note(StudyEnded(state="interrupted"))
    assert used_up(told.record) == "0.21 hours, budget.hours, are over"


def test_target_is_reached_by_the_score_of_a_trial() -> None:
    told = Told(target=0.8)
    told.trial(1, 0.1, 0.2, 0.79)
    assert is_left(told.record)
    told.trial(2, 0.1, 0.2, 0.81)
    assert used_up(told.record) == "trial 0002 came to 0.81, budget.target is 0.8"


def test_patience_counts_the_trials_that_finished_after_the_best_one_was_so_good() -> None:
    told = Told(patience=2)
    told.trial(1, 0.1, 0.2, 0.3)
    told.trial(2, 0.1, 0.2, 0.6)
    told.trial(3, 0.1, 0.2, 0.4)
    told.trial(4, outcome="failed")  # of no worker's fault: it says nothing
    assert is_left(told.record)
    told.trial(5, 0.1, 0.2, 0.5)
    assert used_up(told.record) == "2 trials in a row brought nothing better, budget.patience"
    told.trial(6, 0.1, 0.2, 0.7)
    assert is_left(told.record)


@pytest.mark.parametrize("limit", ["total_epochs: 9", "hours: 2.5", "patience: 3"])
def test_any_limit_that_comes_to_an_end_may_stand_alone(tmp_path: Any, limit: str) -> None:
    file = tmp_path / "jets.yaml"
    file.write_text(f"data: {{path: jets}}\nbudget: {{n_trials: null, {limit}}}\n")
    assert load_study_config(file).budget.n_trials is None


def test_target_alone_may_never_be_reached(tmp_path: Any) -> None:
    file = tmp_path / "jets.yaml"
    file.write_text("data: {path: jets}\nbudget: {n_trials: null, target: 0.8}\n")
    with pytest.raises(ConfigurationError) as raised:
        load_study_config(file)
    (fault,) = raised.value.faults
    assert "or the search never ends" in fault


def placed(number: int) -> TrialPlaced:
    return TrialPlaced(trial=f"{number:04d}", waited_s=1.0)


def test_hours_of_cores_and_gpus_are_counted_from_a_trials_place_to_its_end() -> None:
    told = Told(resources={"cpus_per_worker": 3, "gpus_per_worker": 1, "workers_per_trial": 2})
    told.note(trial_started("0001"))
    told.minutes = 100  # it waits long
    told.note(placed(1))
    told.minutes = 129
    told.note(epoch("0001", 1, 0.5))
    assert told.record.spending.hours(told.time(131)) == (3.0, 1.0)  # half an hour so far
    told.minutes = 160
    told.note(trial_ended("0001", "complete", 1))
    assert told.record.spending.hours(told.time(1000)) == (6.0, 2.0)


def test_place_that_was_given_back_is_not_counted_until_the_next_one() -> None:
    told = Told()
    told.note(trial_started("0001"))
    told.note(placed(1))
    told.minutes = 61
    told.note(
        TrialResumed(trial="0001", cause="its node is gone", is_retry=True, kind="node lost")
    )
    told.minutes = 500
    told.note(placed(1))
    told.minutes = 560
    told.note(trial_ended("0001", "interrupted", 0))
    assert told.record.spending.hours(told.time(9999)) == (2.0, 0.0)


def test_what_runs_in_place_of_what_was_asked_for_is_counted() -> None:
    told = Told(resources={"gpus_per_worker": 1, "cpu_fallback": True})
    told.record.fitted = {"resources.gpus_per_worker": 0.0}
    told.note(trial_started("0001"))
    told.note(placed(1))
    assert told.record.spending.hours(told.time(62)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"core_hours": 4}, "4.3 core-hours reached, budget.core_hours is 4"),
        ({"gpu_hours": 4.2}, "4.3 GPU-hours reached, budget.gpu_hours is 4.2"),
        ({"cost": 8, "price_per_gpu_hour": 2}, "a cost of 8.6 reached, budget.cost is 8"),
        (
            {"cost": 8, "price_per_core_hour": 1, "price_per_gpu_hour": 1},
            "a cost of 8.6 reached, budget.cost is 8",
        ),
    ],
)
def test_search_ends_when_hours_or_money_are_used_up(budget: Any, reason: str) -> None:
    told = Told(resources={"gpus_per_worker": 1}, **budget)
    for number in (1, 2):
        assert is_left(told.record)
        told.note(trial_started(f"{number:04d}"))
        told.note(placed(number))
        told.minutes += 128
        told.note(trial_ended(f"{number:04d}", "interrupted", 0))
    assert used_up(told.record) == overspent(told.record) == reason
    with pytest.raises(StudyError, match="goes on with a larger budget"):
        refuse_finished(told.record)


def test_money_needs_a_price_and_is_a_limit_of_its_own(tmp_path) -> None:
    file = tmp_path / "jets.yaml"
    file.write_text("data: {path: jets}\nbudget: {n_trials: null, cost: 100}\n")
    with pytest.raises(ConfigurationError) as raised:
        load_study_config(file)
    (fault,) = raised.value.faults
    assert fault.startswith("budget.cost: needs budget.price_per_gpu_hour or price_per_core_hour")
    file.write_text(
        "data: {path: jets}\nbudget: {n_trials: null, cost: 100, price_per_gpu_hour: 2.5}\n"
    )
    budget = load_study_config(file).budget
    assert budget.in_words() == "trials, a cost of 100"


def test_spent_and_left_are_told_where_there_is_something_to_tell() -> None:
    told = Told(core_hours=4, price_per_core_hour=0.5)
    told.note(trial_started("0001"))
    told.note(placed(1))
    told.minutes += 89
    told.note(trial_ended("0001", "complete", 1))
    assert spent_words(told.record) == "Spent 1.500 of 4 core-hours, a cost of 0.750"
    assert [(one.name, one.limit) for one in spent(told.record)] == [
        ("core_hours", 4),
        ("cost", None),
    ]
