from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tests.study_events import study_config
from ucluster_tune.search.scheduler import Rung, build_scheduler, longest_training
from ucluster_tune.study.knowledge import JudgedEpoch


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


def test_rung_gives_the_percentile_that_numpy_gives() -> None:
    values = np.random.default_rng(1).normal(size=40).round(1)
    values[7] = np.nan
    rung = Rung()
    assert rung.percentile(0.5) is None
    for number, value in enumerate(values, start=1):
        rung[f"{number:04d}"] = float(value)
        for share in (0.0, 0.5, 2 / 3, 0.75, 1.0):
            expected = np.nanpercentile(values[:number], 100 * share)
            assert rung.percentile(share) == pytest.approx(expected, abs=1e-12)
    assert len(rung) == len(values)


def test_equal_values_at_a_rung_stop_no_trial() -> None:
    scheduler = asha(scheduler={"grace_period": 2, "reduction_factor": 3.0})
    assert judge(scheduler, {f"{n:04d}": [0.1] * 8 for n in range(20)}) == {}


@pytest.mark.parametrize("name", ["none", "asha"])
def test_trial_that_has_waited_longest_is_the_next_one_to_run(name: str) -> None:
    scheduler = build_scheduler(study_config(scheduler={"name": name}))
    trials = {
        trial_id: SimpleNamespace(config={"trial_id": trial_id}, status=status)
        for trial_id, status in [
            ("10000", Trial.PENDING),
            ("9999", Trial.PAUSED),
            ("0007", Trial.RUNNING),
        ]
    }
    controller: Any = SimpleNamespace(get_live_trials=lambda: list(trials.values()))
    assert scheduler.choose_trial_to_run(controller) is trials["9999"]
    del trials["9999"], trials["10000"]
    assert scheduler.choose_trial_to_run(controller) is None


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
