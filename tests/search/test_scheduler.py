from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tests.study_events import study_config
from ucluster_tune.search.scheduler import build_scheduler, longest_training


def judge(
    scheduler: ASHAScheduler, accuracies: dict[str, list[float]], first_epoch: int = 1
) -> dict[str, int]:
    """Returns the epoch after which each trial was stopped, trials one after the other."""
    stopped = {}
    controller: Any = None
    for name, values in accuracies.items():
        trial: Any = SimpleNamespace(trial_id=name)
        scheduler.on_trial_add(controller, trial)
        for epoch, accuracy in enumerate(values, start=first_epoch):
            result = {"epoch": epoch, "clustering_accuracy": accuracy, "total_loss": -accuracy}
            if scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP:
                stopped[name] = epoch
                break
    return stopped


def asha(**sections: Any) -> ASHAScheduler:
    scheduler = {"grace_period": 2, "reduction_factor": 2.0}
    training = {"n_epochs": 9, "n_pretraining_epochs": 1}
    study = study_config(**({"scheduler": scheduler, "training": training} | sections))
    built = build_scheduler(study)
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


def test_no_scheduler_is_first_in_first_out() -> None:
    built = build_scheduler(study_config(scheduler={"name": "none"}))
    assert type(built) is FIFOScheduler


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
