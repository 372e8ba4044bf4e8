"""What the judges decide, by records alone, and that Tune hears it."""

from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.config.points import least_and_most
from ucluster_tune.config.study import SchedulerConfig, StudyConfig
from ucluster_tune.search.schedulers import JUDGES, build_judge
from ucluster_tune.search.schedulers.asha import Asha, percentile
from ucluster_tune.search.schedulers.decision import Decision, Judge, verdict_so_far
from ucluster_tune.search.schedulers.hyperband import Hyperband
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.record import StudyRecord

Curves = dict[str, list[float]]


def study_of(n_epochs: int = 9, **sections: Any) -> StudyConfig:
    scheduler = {"grace_period": 2, "reduction_factor": 2.0}
    training = {"n_epochs": n_epochs, "n_pretraining_epochs": 1}
    return study_config(**({"scheduler": scheduler, "training": training} | sections))


class Judged:
    """A study whose trials run on until its judge stops them."""

    def __init__(self, study: StudyConfig) -> None:
        self.judge: Judge = build_judge(study)
        self.record = StudyRecord(started(study))

    def run(self, trial_id: str, values: list[float], first_epoch: int = 1) -> int | None:
        """Run epochs of a trial; return the one after which it was stopped."""
        if trial_id not in self.record.trials:
            self.record.apply(trial_started(trial_id))
        trial = self.record.trials[trial_id]
        for number, accuracy in enumerate(values, start=first_epoch):
            self.record.apply(epoch(trial_id, number, accuracy, total_loss=-accuracy))
            if self.judge.decide(self.record, trial, number) is Decision.STOP:
                return number
        return None

    def run_all(self, curves: Curves) -> dict[str, int]:
        """Run trials one after the other; return those that were stopped, and when."""
        stopped = {name: self.run(name, values) for name, values in curves.items()}
        return {name: number for name, number in stopped.items() if number is not None}


CURVES = {"good": [0.5] * 8, "bad": [0.2] * 8, "late": [0.6] * 3 + [0.3] * 5}


def test_asha_stops_at_rungs_what_is_worse_than_others_there() -> None:
    assert Judged(study_of()).run_all(CURVES) == {"bad": 2, "late": 4}


def test_objective_that_is_minimized_is_judged_the_other_way_round() -> None:
    minimized = study_of(objective={"metric": "total_loss", "direction": "minimize"})
    assert Judged(minimized).run_all(CURVES) == {"bad": 2, "late": 4}


def test_grace_period_beyond_the_last_epoch_stops_nothing() -> None:
    assert Judged(study_of(scheduler={"grace_period": 50})).run_all(CURVES) == {}


def test_no_scheduler_stops_nothing() -> None:
    assert Judged(study_of(scheduler={"name": "none"})).run_all(CURVES) == {}


def test_last_epoch_is_never_judged() -> None:
    study = study_of(n_epochs=4)
    assert Judged(study).run_all({"good": [0.5] * 4, "late": [0.6] * 3 + [0.3]}) == {}


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_as_many_survive_a_rung_as_the_reduction_factor_says(factor: float) -> None:
    study = study_of(scheduler={"grace_period": 2, "reduction_factor": factor})
    # Those before have 0.0, 0.1, ... 1.2, so a share of 1/factor of what follows survives.
    survive = {}
    for own in range(12):
        judged = Judged(study)
        for other in range(13):
            judged.record.apply(trial_started(f"{other:04d}"))
            judged.record.apply(epoch(f"{other:04d}", 2, 0.1 * other))
        survive[own] = judged.run("new", [0.1 * own + 0.05], first_epoch=2) is None
    assert sum(survive.values()) == 12 / factor
    assert list(survive.values()) == sorted(survive.values())  # and they are the best


def random_curves(seed: int, are_rounded: bool) -> tuple[list[str], Curves]:
    """Return curves of trials, and the order in which their epochs come."""
    draw = np.random.default_rng(seed)
    names = [f"{number:04d}" for number in range(1, 31)]
    curves = {}
    for name in names:
        values = draw.uniform(0.2, 0.8) + draw.normal(0, 0.1, size=27)
        curves[name] = [float(v) for v in (values.round(1) if are_rounded else values)]
    order = list(draw.permutation(np.repeat(names, 27)))
    return order, curves


@pytest.mark.parametrize("are_rounded", [False, True])
@pytest.mark.parametrize(
    ("metric", "direction"), [("clustering_accuracy", "maximize"), ("total_loss", "minimize")]
)
@pytest.mark.parametrize("factor", [2.0, 2.5, 3.0, 4.0])
def test_asha_decides_as_that_of_ray_for_the_same_history(
    factor: float, metric: str, direction: str, are_rounded: bool
) -> None:
    study = study_of(
        n_epochs=27,
        scheduler={"grace_period": 2, "reduction_factor": factor},
        objective={"metric": metric, "direction": direction},
    )
    sign = 1.0 if direction == "maximize" else -1.0
    n_stopped = 0
    for seed in range(6):
        order, curves = random_curves(seed, are_rounded)
        rays = ASHAScheduler(
            time_attr="epoch",
            metric="value",
            mode="max" if direction == "maximize" else "min",
            max_t=27,
            grace_period=2,
            reduction_factor=factor,
            stop_last_trials=False,
        )
        judged = Judged(study)
        controller: Any = None
        trials: dict[str, Any] = {n: SimpleNamespace(trial_id=n) for n in curves}
        for name in curves:
            rays.on_trial_add(controller, trials[name])
            judged.record.apply(trial_started(name))
        over: set[str] = set()
        for name in order:
            if name in over:
                continue
            number = judged.record.trials[name].epochs + 1
            value = curves[name][number - 1]
            result = {"epoch": number, "value": sign * value}
            ours = judged.run(name, [value], number) is not None
            if number == 27:  # Tune hears that it is done, and does not ask
                rays.on_trial_complete(controller, trials[name], result)
                over.add(name)
                continue
            told = rays.on_trial_result(controller, trials[name], result)
            assert ours == (told == TrialScheduler.STOP), (seed, name, number)
            if ours:
                over.add(name)
                n_stopped += 1
    assert n_stopped > 20


def test_percentile_is_that_of_numpy() -> None:
    values = np.random.default_rng(1).normal(size=40).round(1)
    for count in range(1, len(values) + 1):
        ordered = sorted(map(float, values[:count]))
        for share in (0.0, 0.5, 2 / 3, 0.75, 1.0):
            expected = np.percentile(ordered, 100 * share)
            assert percentile(ordered, share) == pytest.approx(expected, abs=1e-12)


def test_median_stops_what_has_never_been_as_good_as_half_of_the_others() -> None:
    judged = Judged(study_of(scheduler={"name": "median", "grace_period": 3}))
    curves = {f"{n:04d}": [0.1 * n] * 8 for n in (3, 4, 5, 6)}
    assert judged.run_all(curves) == {}  # too few to tell
    assert judged.run_all({"bad": [0.44] * 8, "good": [0.46] * 8}) == {"bad": 3}
    assert judged.run("was_good", [0.5, *[0.1] * 7]) is None


def test_median_of_an_objective_that_is_minimized() -> None:
    minimized = {"metric": "total_loss", "direction": "minimize"}
    judged = Judged(study_of(scheduler={"name": "median"}, objective=minimized))
    judged.run_all({f"{n:04d}": [0.1 * n] * 8 for n in (3, 4, 5, 6)})
    assert judged.run_all({"bad": [0.44] * 8, "good": [0.46] * 8}) == {"bad": 5}


def test_hyperband_holds_a_trial_against_those_of_its_bracket_alone() -> None:
    scheduler = {"name": "hyperband", "grace_period": 1, "reduction_factor": 3.0}
    study = study_of(scheduler=scheduler)
    judged = Judged(study)
    brackets = Hyperband(1, 3.0, 9, "maximize")
    names = [f"{number:04d}" for number in range(1, 31)]
    curves = {name: [0.5 - 0.01 * place] * 8 for place, name in enumerate(names)}
    stopped = judged.run_all(curves)
    for bracket, first_rung in ((0, 1), (1, 3)):
        own = [name for name in names if brackets.bracket(name) == bracket]
        alone = Asha(first_rung, 3.0, 9, "maximize")
        record = StudyRecord(started(study))
        expected = {}
        for name in own:
            record.apply(trial_started(name))
            for number, value in enumerate(curves[name], start=1):
                record.apply(epoch(name, number, value))
                if alone.decide(record, record.trials[name], number) is Decision.STOP:
                    expected[name] = number
                    break
        assert expected
        assert {name: stopped[name] for name in own if name in stopped} == expected
    assert not any(brackets.bracket(name) == 2 for name in stopped)


def test_equal_values_at_a_rung_stop_no_trial() -> None:
    judged = Judged(study_of(scheduler={"grace_period": 2, "reduction_factor": 3.0}))
    assert judged.run_all({f"{n:04d}": [0.1] * 8 for n in range(20)}) == {}


def test_trial_that_was_to_be_stopped_when_the_driver_was_killed_is_stopped() -> None:
    judged = Judged(study_of())
    assert judged.run("good", [0.5] * 8) is None
    assert judged.run("bad", [0.2] * 2) == 2
    judged.record.apply(trial_ended("bad", "interrupted", 2))
    judged.run("better", [0.9] * 8)
    bad = judged.record.trials["bad"]
    assert verdict_so_far(judged.judge, judged.record, bad) is Decision.STOP


def test_trial_that_goes_on_is_not_judged_by_those_that_came_after_it() -> None:
    judged = Judged(study_of())
    assert judged.run_all({"first": [0.4] * 2, "good": [0.5] * 8, "better": [0.6] * 8}) == {}
    first = judged.record.trials["first"]
    assert judged.judge.decide(judged.record, first, 2) is Decision.GO_ON
    assert verdict_so_far(judged.judge, judged.record, first) is Decision.GO_ON


def test_epochs_without_a_number_are_neither_judged_nor_held_against_others() -> None:
    judged = Judged(study_of())
    assert judged.run_all({"broken": [float("nan")] * 8, "bad": [0.2] * 8}) == {}
    assert judged.run("worse", [float("nan")] * 8) is None


def test_every_scheduler_that_a_file_may_name_has_a_judge() -> None:
    names = get_args(SchedulerConfig.model_fields["name"].annotation)
    assert set(names) == set(JUDGES)


class FakeDriver:
    """Says one thing of every trial."""

    def __init__(self, decision: Decision = Decision.GO_ON) -> None:
        self.decision = decision

    def verdict(self, trial_id: str) -> Decision:
        assert trial_id == "0007"
        return self.decision


@pytest.mark.parametrize(
    ("decision", "word"),
    [(Decision.GO_ON, "CONTINUE"), (Decision.PAUSE, "PAUSE"), (Decision.STOP, "STOP")],
)
def test_tune_is_told_the_verdict(decision: Decision, word: str) -> None:
    driver: Any = FakeDriver(decision)
    trial: Any = SimpleNamespace(config={"trial_id": "0007"})
    assert Verdicts(driver).on_trial_result(None, trial, {}) == word


def test_trial_that_has_waited_longest_is_the_next_one_to_run() -> None:
    driver: Any = FakeDriver()
    scheduler = Verdicts(driver)
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
    study = study_config(search_space=searched)
    assert least_and_most(study, "training.n_epochs")[1] == longest
