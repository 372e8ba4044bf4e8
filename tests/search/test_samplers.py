import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from tests.study_events import epoch, study_config
from tests.told_study import ToldStudy
from ucluster_tune.config.automatic import chosen_sampler
from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.points import published_point, trial_config
from ucluster_tune.config.study import SamplerConfig, StudyConfig
from ucluster_tune.search import samplers
from ucluster_tune.study.budget import is_left
from ucluster_tune.study.events import StudyEnded, StudyResumed, TrialStarted, parse_event
from ucluster_tune.study.knowledge import warm_start_from
from ucluster_tune.tracking.dashboards import stores as dashboard_stores
from ucluster_tune.tracking.dashboards.optuna_trials import build_distributions
from ucluster_tune.tracking.dashboards.stores import DashboardFile

SPACE: dict[str, dict[str, Any]] = {
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "model.n_neighbors": {"type": "int", "low": 4, "high": 21, "step": 4},
    "loss.clustering_weight": {"type": "float", "low": 0.1, "high": 1.0, "step": 0.2},
    "training.global_batch_size": {"type": "categorical", "choices": [64, 128]},
}


RATES = {"type": "categorical", "choices": [1e-4, 3e-4, 1e-3, 3e-3]}
FINITE = SPACE | {"training.learning_rate": RATES}  # 4 x 5 x 5 x 2 points


def searched(name: str = "tpe", **sampler: Any) -> StudyConfig:
    space = FINITE if name == "grid" else SPACE
    return study_config(search_space=space, sampler={"name": name} | sampler)


def run(study: ToldStudy, n_trials: int) -> list[dict[str, Any]]:
    asked = []
    for number in range(1, n_trials + 1):
        trial = f"{number:04d}"
        point = study.ask(trial)
        for number_ in (1, 2):
            study.report(trial, number_, float(point["training.learning_rate"]) * number_)
        study.tell(trial, "complete" if number % 3 else "stopped_early")
        asked.append(point)
    return asked


def wait_for(happens: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if happens():
                return
        except (KeyError, SQLAlchemyError, StorageInternalError):  # half made
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stored(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="jets", storage=f"sqlite:///{path}").trials


def test_distributions_say_what_the_space_says() -> None:
    assert build_distributions(searched().search_space) == {
        "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "model.n_neighbors": IntDistribution(4, 20, step=4),
        "loss.clustering_weight": FloatDistribution(0.1, 0.9, step=0.2),
        "training.global_batch_size": CategoricalDistribution((64, 128)),
    }


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_suggestions_lie_in_the_space_and_follow_the_seed(name: str) -> None:
    points = run(ToldStudy(searched(name=name)), 12)
    for point in points:
        assert 1e-4 <= point["training.learning_rate"] <= 1e-2
        assert point["model.n_neighbors"] in range(4, 21, 4)
        assert point["training.global_batch_size"] in (64, 128)
    assert points == run(ToldStudy(searched(name=name)), 12)
    assert points[1:] != run(ToldStudy(searched(name=name, seed=2)), 12)[1:]
    assert len({point["training.learning_rate"] for point in points}) == 12


def test_grid_gives_each_point_once_in_an_order_of_its_seed() -> None:
    small = {path: FINITE[path] for path in ("training.learning_rate", "model.n_neighbors")}
    study = study_config(search_space=small, sampler={"name": "grid"})
    points = run(ToldStudy(study), 20)
    assert points[0] == published_point(study)
    assert len({tuple(point.values()) for point in points}) == 20
    other = study_config(search_space=small, sampler={"name": "grid", "seed": 2})
    assert points != run(ToldStudy(other), 20)
    assert points[1:] != sorted(points[1:], key=lambda point: list(point.values()))


def test_grid_that_all_the_budget_does_not_fill_ends_with_its_last_point() -> None:
    small = {"training.learning_rate": RATES}
    for name in ("grid", "auto"):
        study = study_config(search_space=small, sampler={"name": name}, budget={"n_trials": 30})
        told = ToldStudy(study)
        run(told, 4)
        assert told.record.n_trials == 4
        assert not is_left(told.record)


def test_point_that_breaks_a_constraint_is_never_suggested_and_leaves_no_trace() -> None:
    limit = "model.n_neighbors * training.global_batch_size <= 1024"
    for name in samplers.SAMPLERS:
        study = searched(name).model_copy(update={"constraints": (limit,)})
        whole = run(ToldStudy(study), 12)
        for point in whole:
            assert point["model.n_neighbors"] * point["training.global_batch_size"] <= 1024
        if not name.startswith("nsga"):  # whose points may have all from their parents
            assert len({tuple(point.values()) for point in whole}) == 12
        before = ToldStudy(study)
        run(before, 11)
        assert ToldStudy(study, before.record).ask("0012") == whole[11]


DEPENDENT: dict[str, Any] = {
    "training.learning_rate": FINITE["training.learning_rate"],
    "model.n_attention_heads": {"type": "int", "low": 1, "high": 3},
    "model.dropout": {
        "type": "float",
        "low": 0.1,
        "high": 0.5,
        "step": 0.1,
        "when": "model.n_attention_heads > 1",
    },
    "model.first_widths": {"type": "categorical", "choices": [[64, 128], [32, 64]]},
    "share": {"type": "categorical", "choices": [0.25, 0.5]},
}


@pytest.mark.parametrize("name", list(samplers.SAMPLERS))
def test_conditions_and_derived_values_hold_with_every_sampler_and_after_a_restart(
    name: str,
) -> None:
    study = study_config(
        search_space=DEPENDENT,
        derived={"training.global_batch_size": "round(512 * share)"},
        constraints=["training.global_batch_size < 200 or model.dropout < 0.4"],
        sampler={"name": name},
        budget={"n_trials": 60},
    )
    whole = run(ToldStudy(study), 30)
    for point in whole:
        assert ("model.dropout" in point) == (point["model.n_attention_heads"] > 1)
        assert point["share"] == 0.25 or point.get("model.dropout", 0) < 0.4
        assert trial_config(study, point).training.global_batch_size == 512 * point["share"]
    assert {len(point) for point in whole} == {4, 5}
    assert {point["model.first_widths"] for point in whole} == {"[64, 128]", "[32, 64]"}
    before = ToldStudy(study)
    run(before, 25)
    assert ToldStudy(study, before.record).ask("0026") == whole[25]


def near(point: dict[str, Any]) -> float:
    return -abs(float(np.log10(point["training.learning_rate"]) + 3))


def told_of_two(config: StudyConfig, n_trials: int, record: Any = None) -> ToldStudy:
    """Accuracy has its optimum at a rate of 1e-3, seconds fall with the rate."""
    study = ToldStudy(config, record)
    for number in range(len(study.record.trials) + 1, n_trials + 1):
        trial = f"{number:04d}"
        point = study.ask(trial)
        told = {"seconds": 1 / float(point["training.learning_rate"])}
        study.note(epoch(trial, 3, 1 + near(point), **told))
        study.tell(trial, "complete" if number % 5 else "stopped_early")
    return study


@pytest.mark.parametrize("name", list(samplers.SAMPLERS))
def test_several_objectives_are_told_to_every_sampler_and_survive_a_restart(name: str) -> None:
    config = searched(name, n_startup_trials=3).model_copy(
        update={
            "objective": ObjectiveConfig(others=("seconds",)),
            "budget": BudgetConfig(n_trials=40),
        }
    )
    whole = told_of_two(config, 30)
    known = whole.sampler.what_it_knows()
    assert {trial.state.name for trial in known} == {"COMPLETE", "PRUNED"}
    assert all(len(t.values) == 2 for t in known if t.state == TrialState.COMPLETE)
    before = told_of_two(config, 29)
    again = told_of_two(config, 30, before.record)
    assert (
        again.record.trials["0030"].hyperparameters == whole.record.trials["0030"].hyperparameters
    )


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3"])
def test_what_is_for_several_objectives_comes_to_a_better_front_than_random(name: str) -> None:
    space = {
        "training.learning_rate": SPACE["training.learning_rate"],
        **{
            path: {"type": "float", "low": 0.1, "high": 1.0}
            for path in ("loss.clustering_weight", "loss.focal_weight")
        },
    }

    def waste_of_last_30(name: str) -> float:
        config = study_config(
            search_space=space,
            sampler={"name": name, "published_first": False},
            objective={"others": ["focal_loss"]},
            budget={"n_trials": 100},
        )
        study = ToldStudy(config)
        wastes = []
        for number in range(1, 101):
            trial = f"{number:04d}"
            point = {k: float(v) for k, v in study.ask(trial).items()}
            waste = point["loss.clustering_weight"] + point["loss.focal_weight"]
            share = np.log10(point["training.learning_rate"]) / 2 + 2  # 0 to 1: the trade-off
            study.note(epoch(trial, 3, share - waste, focal_loss=share + waste))
            study.tell(trial, "complete")
            wastes.append(waste)
        return float(np.mean(wastes[-30:]))

    assert waste_of_last_30(name) < 0.75 * waste_of_last_30("random")


def test_dashboard_file_shows_all_objectives(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    config = searched("random").model_copy(
        update={"objective": ObjectiveConfig(others=("seconds",))}
    )
    study = ToldStudy(config, None, DashboardFile(path, "jets"))
    study.ask("0001")
    study.note(epoch("0001", 3, 0.5, seconds=7.0))
    study.tell("0001", "complete")
    study.close()
    shown = optuna.load_study(study_name="jets", storage=f"sqlite:///{path}")
    assert [direction.name for direction in shown.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert shown.trials[0].values == [0.5, 7.0]


AROUND = {
    "training.learning_rate": SPACE["training.learning_rate"] | {"prior": {"confidence": "high"}},
    "training.global_batch_size": SPACE["training.global_batch_size"]
    | {"prior": {"center": 128, "confidence": "high"}},
}


def told_with_prior(name: str, n_trials: int, accuracy: Any, **prior: Any) -> ToldStudy:
    """Of a budget of 60 trials, whose accuracy is a function of their point."""
    space = {path: range_ | {"prior": range_["prior"] | prior} for path, range_ in AROUND.items()}
    study = ToldStudy(
        study_config(search_space=space, sampler={"name": name}, budget={"n_trials": 60})
    )
    for number in range(1, n_trials + 1):
        point = study.ask(f"{number:04d}")
        study.report(f"{number:04d}", 1, accuracy(point))
        study.tell(f"{number:04d}", "complete" if number % 2 else "stopped_early")
    return study


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_first_fifth_of_the_budget_lies_around_the_prior(name: str) -> None:
    study = told_with_prior(name, 16, near)
    trials = list(study.record.trials.values())
    marks = [trial.sampler_attributes.get("prior") for trial in trials]
    assert marks == [None, *[True, True, False] * 4, None, None, None]
    inside = [trial.hyperparameters for trial, mark in zip(trials, marks, strict=True) if mark]
    rates = [float(point["training.learning_rate"]) for point in inside]
    assert all(10**-3.4 < rate < 10**-2.6 for rate in rates)  # four standard deviations
    assert len(set(rates)) == 8
    assert sum(point["training.global_batch_size"] == 128 for point in inside) >= 5


def test_prior_that_trials_speak_against_is_dropped() -> None:
    study = told_with_prior("random", 13, lambda point: -near(point))
    marks = [t.sampler_attributes.get("prior") for t in study.record.trials.values()]
    assert marks == [None, *[True, True, False] * 3, False, False, False]


def test_prior_of_low_confidence_is_wider() -> None:
    def spread(confidence: str) -> float:
        study = told_with_prior("random", 13, near, confidence=confidence)
        drawn = [t for t in study.record.trials.values() if t.sampler_attributes.get("prior")]
        logs = [np.log10(float(t.hyperparameters["training.learning_rate"])) for t in drawn]
        return float(np.std(logs))

    assert spread("low") > 2 * spread("high")


def test_prior_is_the_same_after_a_restart_and_none_of_a_grid() -> None:
    whole = told_with_prior("tpe", 9, near)
    before = told_with_prior("tpe", 8, near)
    config = StudyConfig.model_validate(before.record.config)
    assert (
        ToldStudy(config, before.record).ask("0009") == whole.record.trials["0009"].hyperparameters
    )
    grid = config.model_copy(
        update={
            "search_space": {
                "training.global_batch_size": config.search_space["training.global_batch_size"]
            },
            "sampler": SamplerConfig(name="grid"),
        }
    )
    told = ToldStudy(grid)
    sizes = [told.ask(f"{number:04d}")["training.global_batch_size"] for number in (1, 2)]
    assert sorted(sizes) == [64, 128]


def test_warm_start_teaches_a_space_with_conditions_what_has_a_part_in_it() -> None:
    old = study_config(search_space={"training.learning_rate": SPACE["training.learning_rate"]})
    told = ToldStudy(old)
    run(told, 3)
    heads = DEPENDENT | {"model.n_attention_heads": {"type": "int", "low": 1, "high": 3}}
    new = study_config(
        search_space={k: v for k, v in heads.items() if k != "share"}, sampler={"name": "tpe"}
    )
    (first, *_) = warm_start_from(told.record, new).trials
    assert set(first.hyperparameters) == {
        "training.learning_rate",
        "model.n_attention_heads",
        "model.first_widths",
    }


def test_grid_has_the_points_that_its_constraints_leave() -> None:
    small = {path: FINITE[path] for path in ("training.learning_rate", "model.n_neighbors")}
    study = study_config(
        search_space=small,
        sampler={"name": "grid"},
        constraints=["model.n_neighbors > 12"],
        budget={"n_trials": 50},
    )
    assert ToldStudy(study).record.n_trials == 8  # of 4 x 2
    assert len({tuple(point.values()) for point in run(ToldStudy(study), 8)}) == 8


def test_points_to_try_first_come_first_also_after_a_restart() -> None:
    points = [{"model.n_neighbors": 20}, {"training.global_batch_size": 64}]
    study = searched(try_first=points)
    before = ToldStudy(study)
    first, second = run(before, 2)
    assert first == published_point(study)
    assert second["model.n_neighbors"] == 20
    assert ToldStudy(study, before.record).ask("0003")["training.global_batch_size"] == 64


def test_qmc_fills_each_axis_evenly() -> None:
    study = searched(name="qmc", published_first=False)
    points = run(ToldStudy(study), 32)
    logs = np.log10([point["training.learning_rate"] for point in points])
    counts, _ = np.histogram(logs, bins=8, range=(-4, -2))
    assert set(counts) == {4}  # random ones are so with a chance of 1e-4
    for value in (64, 128):
        assert sum(p["training.global_batch_size"] == value for p in points) == 16


@pytest.mark.parametrize(
    ("n_trials", "space", "chosen"),
    [(200, FINITE, "grid"), (199, FINITE, "tpe"), (7, SPACE, "qmc"), (8, SPACE, "tpe")],
)
def test_automatic_sampler_follows_space_and_budget(
    n_trials: int, space: dict[str, Any], chosen: str
) -> None:
    study = study_config(search_space=space, budget={"n_trials": n_trials})
    assert chosen_sampler(study).name == chosen
    assert ToldStudy(study).sampler.describe().startswith(f"{chosen} sampler (")


def test_automatic_sampler_of_few_trials_learns_where_another_study_teaches_it() -> None:
    study = study_config(search_space=SPACE, budget={"n_trials": 2})
    assert chosen_sampler(study).name == "qmc"
    assert chosen_sampler(study, n_taught=1).name == "tpe"


def test_tpe_learns_where_random_does_not() -> None:
    def mean_of_last_20(name: str) -> float:
        rates = [p["training.learning_rate"] for p in run(ToldStudy(searched(name=name)), 40)]
        return float(sum(rates[20:]) / 20)

    assert mean_of_last_20("tpe") > 1.5 * mean_of_last_20("random")


def test_published_point_comes_first_unless_switched_off() -> None:
    study = searched()
    assert ToldStudy(study).ask("0001") == published_point(study)
    without = searched(published_first=False)
    assert ToldStudy(without).ask("0001") != published_point(without)


def test_trials_at_the_same_time_get_different_points() -> None:
    sampler = ToldStudy(searched())
    points = [sampler.ask(f"{number:04d}") for number in range(8)]
    assert len({point["training.learning_rate"] for point in points}) == 8


def test_space_of_one_fixed_point_can_be_asked_again_and_again(tmp_path: Path) -> None:
    sampler = ToldStudy(study_config(), None, DashboardFile(tmp_path / "optuna.db", "jets"))
    for number in range(6):
        assert sampler.ask(str(number)) == {}
        sampler.report(str(number), 1, 0.5)
        sampler.tell(str(number), "complete")
    sampler.close()
    assert [trial.value for trial in stored(tmp_path / "optuna.db")] == [0.5] * 6


def test_dashboard_file_shows_every_trial_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    sampler = ToldStudy(searched(), None, DashboardFile(path, "jets"))
    run(sampler, 3)
    sampler.ask("0004")
    sampler.report("0004", 1, 0.3)
    sampler.report("0004", 2, float("nan"))
    for trial, outcome in {"0005": "failed", "0006": "interrupted"}.items():
        sampler.ask(trial)
        sampler.tell(trial, outcome)  # type: ignore[arg-type]
    sampler.note(StudyEnded(state="interrupted"))
    sampler.close()
    trials = stored(path)
    assert [trial.state.name for trial in trials] == [
        *("COMPLETE", "COMPLETE", "PRUNED", "RUNNING", "FAIL", "FAIL")
    ]
    assert [trial.user_attrs["trial"] for trial in trials] == [f"000{n}" for n in range(1, 7)]
    rate = trials[2].params["training.learning_rate"]
    assert trials[2].intermediate_values == {1: rate, 2: 2 * rate}
    assert trials[3].intermediate_values == {1: 0.3}
    assert trials[0].value == 2 * trials[0].params["training.learning_rate"]
    assert set(trials[3].params) == set(SPACE)


def test_complete_trial_without_a_score_counts_as_failed(tmp_path: Path) -> None:
    sampler = ToldStudy(searched(), None, DashboardFile(tmp_path / "optuna.db", "jets"))
    sampler.ask("0001")
    sampler.report("0001", 1, float("nan"))
    sampler.tell("0001", "complete")
    sampler.close()
    assert stored(tmp_path / "optuna.db")[0].state == TrialState.FAIL
    assert sampler.sampler.what_it_knows()[0].state == TrialState.FAIL


def test_file_held_by_another_process_is_caught_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dashboard_stores, "_BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "optuna.db"
    sampler = ToldStudy(searched(), None, DashboardFile(path, "jets"))
    sampler.ask("0001")
    wait_for(lambda: path.exists() and stored(path))
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        sampler.report("0001", 1, 0.4)
        sampler.tell("0001", "complete")
        sampler.ask("0002")
        wait_for(lambda: caplog.records)
    assert len(caplog.records) == 1
    assert "database is locked" in caplog.text
    holder.rollback()
    holder.close()
    sampler.close()
    assert [trial.state.name for trial in stored(path)] == ["COMPLETE", "RUNNING"]
    assert stored(path)[0].intermediate_values == {1: 0.4}


def test_search_goes_on_where_the_file_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DashboardFile(tmp_path / "missing" / "optuna.db", "jets")
    sampler = ToldStudy(searched(), None, store)
    run(sampler, 2)
    sampler.close()
    assert "unable to open database file" in caplog.text


@pytest.mark.parametrize("name", list(samplers.SAMPLERS))
def test_sampler_built_again_from_its_record_suggests_as_if_it_never_stopped(name: str) -> None:
    config = searched(n_startup_trials=3, name=name)
    whole = run(ToldStudy(config), 9)
    before = ToldStudy(config)
    run(before, 8)
    again = ToldStudy(config, before.record)
    assert again.sampler.describe() == f"{name} sampler, 8 trials known"
    assert again.ask("0009") == whole[8]


def told_with_running(config: StudyConfig) -> ToldStudy:
    """Twelve trials ended, and two that run."""
    study = ToldStudy(config)
    run(study, 12)
    for trial in ("0013", "0014"):
        study.ask(trial)
    return study


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
@pytest.mark.parametrize("others", [(), ("seconds",)])
def test_trials_that_run_are_known_alike_after_a_restart(
    name: str, others: tuple[Any, ...]
) -> None:
    config = searched(name, n_startup_trials=3).model_copy(
        update={"objective": ObjectiveConfig(others=others)}
    )
    going_on = told_with_running(config)
    before = told_with_running(config)
    again = ToldStudy(config, before.record)

    def kept(study: ToldStudy) -> list[Any]:
        hidden = "fixed_params"  # of a point that came first; it is not recorded
        return [
            (t.params, {k: v for k, v in t.system_attrs.items() if k != hidden})
            for t in study.sampler.what_it_knows()
        ]

    assert kept(again) == kept(going_on)
    assert again.ask("0015") == going_on.ask("0015")


def test_what_the_sampler_keeps_with_a_trial_is_there_again_after_a_restart() -> None:
    before = ToldStudy(searched())
    before.ask("0001")
    kept = {"grid_id": 3, "search_space": {"a": [1, 2]}}
    suggested = TrialStarted(
        trial="0002",
        hyperparameters=before.record.trials["0001"].hyperparameters,
        sampler_attributes=kept,
    )
    line = suggested.line()
    event = parse_event(line.encode())
    before.record.apply(event)
    _, again = ToldStudy(searched(), before.record).sampler.what_it_knows()
    assert again.system_attrs == kept


def test_attributes_that_a_sampler_sets_are_part_of_its_suggestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Remembering(RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            n_so_far = sum("place" in t.system_attrs for t in study.get_trials(deepcopy=False))
            study._storage.set_trial_system_attr(trial._trial_id, "place", n_so_far)

    monkeypatch.setitem(samplers.SAMPLERS, "random", lambda _config, seed: Remembering(seed))
    before = ToldStudy(searched(name="random"))
    before.ask("0001")
    before.ask("0002")
    again = ToldStudy(searched(name="random"), before.record)
    again.ask("0003")
    kept = [trial.sampler_attributes for trial in again.record.trials.values()]
    assert kept == [{"place": 0}, {"place": 1}, {"place": 2}]


def test_every_sampler_that_a_file_may_name_is_there() -> None:
    names = get_args(SamplerConfig.model_fields["name"].annotation)
    assert set(names) == {"auto", *samplers.SAMPLERS}


def test_trial_that_goes_on_is_told_later(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    first = ToldStudy(searched(), None, DashboardFile(path, "jets"))
    first.ask("0001")
    first.report("0001", 1, 0.1)
    first.end()
    assert stored(path)[0].state == TrialState.FAIL
    second = ToldStudy(searched(), first.record, DashboardFile(path, "jets"))
    second.note(StudyResumed(code_version="0", host="here"))
    second.resume("0001")
    second.report("0001", 2, 0.2)
    second.tell("0001", "complete")
    second.close()
    (trial,) = stored(path)
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.2)
    assert trial.intermediate_values == {1: 0.1, 2: 0.2}


def test_epoch_that_was_run_again_with_another_result_replaces_the_old_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "optuna.db"
    study = ToldStudy(searched(), None, DashboardFile(path, "jets"))
    study.ask("0001")
    for number in (1, 2, 3):
        study.report("0001", number, 0.1 * number)
    wait_for(lambda: [len(trial.intermediate_values) for trial in stored(path)] == [3])
    study.report("0001", 2, 0.7)
    study.tell("0001", "stopped_early")
    study.close()
    (trial,) = stored(path)
    (known,) = study.sampler.what_it_knows()
    assert trial.intermediate_values == known.intermediate_values == {1: 0.1, 2: 0.7}
    assert trial.state == known.state == TrialState.PRUNED


def test_value_outside_a_narrowed_space_is_kept_and_the_others_teach(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    before = ToldStudy(searched())
    points = run(before, 6)
    narrow = SPACE | {"training.global_batch_size": {"type": "categorical", "choices": [64]}}
    study = study_config(search_space=narrow)
    sampler = ToldStudy(study, before.record, DashboardFile(path, "jets"))
    assert sampler.ask("0007")["training.global_batch_size"] == 64
    sampler.close()
    for trial, point in zip(stored(path), points, strict=False):
        outside = trial.user_attrs.get("outside_search_space", {})
        assert {**trial.params, **outside} == point
        assert (point["training.global_batch_size"] == 128) == bool(outside)


def test_file_of_an_earlier_driver_is_kept_where_it_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    first = ToldStudy(searched(), None, DashboardFile(path, "jets"))
    run(first, 3)
    first.close()
    inode = path.stat().st_ino
    second = ToldStudy(searched(), first.record, DashboardFile(path, "jets"))
    second.ask("0004")
    second.close()
    assert path.stat().st_ino == inode
    assert [t.state.name for t in stored(path)] == ["COMPLETE", "COMPLETE", "PRUNED", "RUNNING"]
    fewer = ToldStudy(searched())
    run(fewer, 2)
    ToldStudy(searched(), fewer.record, DashboardFile(path, "jets")).close()
    assert path.stat().st_ino != inode
    assert len(stored(path)) == 2


def test_file_that_is_no_database_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    path.write_bytes(b"not a database")
    before = ToldStudy(searched())
    run(before, 2)
    ToldStudy(searched(), before.record, DashboardFile(path, "jets")).close()
    assert len(stored(path)) == 2
