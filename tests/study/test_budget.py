"""Which limit of a budget ends a search, by the record alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.study.budget import is_left, used_up
from ucluster_tune.study.events import StudyEnded, StudyResumed
from ucluster_tune.study.record import StudyRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


class Told:
    """A record whose events come a minute after each other."""

    def __init__(self, **budget: Any) -> None:
        config = study_config(budget={"n_trials": 100} | budget)
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
