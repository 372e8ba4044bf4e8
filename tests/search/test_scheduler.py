from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tests.study_events import study_config
from ucluster_tune.search.knowledge import JudgedEpoch
from ucluster_tune.search.scheduler import build_scheduler, longest_training


def judge(
    scheduler: ASHAScheduler, accuracies: dict[str, list[float]], first_epoch: int = 1
) -> dict[str, int]:
    """Returns the epoch after which each trial was stopped, trials one after the other."""
    stopped = {}
    controller: Any = None
    for name, values in accuracies.items():
        trial: Any = SimpleNamespace(trial_id=f"tune's {name}", config={"trial_id": name})
        scheduler.on_trial_add(controller, trial)
        for epoch, accuracy in enumerate(values, start=first_epoch):
            result = {"epoch": epoch, "clustering_accuracy": accuracy, "total_loss": -accuracy}
            if scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP:
                stopped[name] = epoch
                break
    return stopped


def asha(history: Iterable[JudgedEpoch] = (), **sections: Any) -> ASHAScheduler:
    scheduler = {"grace_period": 2, "reduction_factor": 2.0}
    training = {"n_epochs": 9, "n_pretraining_epochs": 1}
    study = study_config(**({"scheduler": scheduler, "training": training} | sections))
    built = build_scheduler(study, history)
    assert isinstance(built, ASHAScheduler)
    return built


CURVES = {"good": [0.5] * 8, "bad": [0.2] * 8, "late": [0.6] * 3 + [0.3] * 5}


def test_asha_stops_at_rungs_what_is_worse_than_others_there() -> None:
    assert judge(asha(), CURVES) == {"bad": 2, "late": 4}


def test_objective_that_is_minimized_is_judged_the_other_way_round() -> None:
    minimized = asha(objective={"metric": "total_loss", "direction": "minimize"})
    assert judge(minimized, CURVES) == {"bad": 2, "late": 4}


def test_grace_period_beyond_the_last_epoch_stops_nothing() -> None:
    late = asha(scheduler={"grace_period": 50})
    assert judge(late, CURVES) == {}


def test_trial_that_goes_on_later_is_not_judged_by_the_rungs_it_left_behind() -> None:
    scheduler = asha()
    judge(scheduler, {"early": [0.9, 0.9, 0.1]})
    assert judge(scheduler, {"resumed": [0.5, 0.5]}, first_epoch=5) == {}


def history(accuracies: dict[str, list[float | None]]) -> list[JudgedEpoch]:
    return [
        JudgedEpoch(name, epoch, value)
        for name, values in accuracies.items()
        for epoch, value in enumerate(values, start=1)
    ]


def test_rungs_of_a_study_that_is_resumed_are_as_they_were() -> None:
    before = history({"good": [0.5] * 8, "bad": [0.2] * 2})
    assert judge(asha(before), {"late": CURVES["late"]}) == {"late": 4}
    assert judge(asha(), {"late": CURVES["late"]}) == {}


def test_trial_that_was_to_be_stopped_when_the_driver_was_killed_is_stopped() -> None:
    before = history({"good": [0.5] * 8, "bad": [0.2] * 2})
    assert judge(asha(before), {"bad": [0.2]}, first_epoch=2) == {"bad": 2}


def test_trial_that_goes_on_is_not_judged_twice_at_a_rung() -> None:
    before = history({"first": [0.4] * 2, "good": [0.5] * 8, "better": [0.6] * 8})
    assert judge(asha(before), {"first": [0.4]}, first_epoch=2) == {}


def test_epochs_without_a_number_leave_no_trace_in_the_rungs() -> None:
    before = history({"broken": [None] * 8})
    assert judge(asha(before), {"bad": [0.2] * 8}) == {}


def test_no_scheduler_is_first_in_first_out() -> None:
    built = build_scheduler(study_config(scheduler={"name": "none"}))
    assert isinstance(built, FIFOScheduler)


@pytest.mark.parametrize(
    ("searched", "longest"),
    [
        ({}, 6),
        ({"training.n_epochs": {"type": "int", "low": 5, "high": 11}}, 11),
        ({"training.n_epochs": {"type": "categorical", "choices": [8, 12, 4]}}, 12),
    ],
)
def test_longest_training_is_the_longest_that_may_be_suggested(
    searched: dict[str, Any], longest: int
) -> None:
    assert longest_training(study_config(search_space=searched)) == longest
