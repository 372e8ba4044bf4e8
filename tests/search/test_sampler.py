import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from tests.study_events import study_config
from ucluster_tune.config.search_space import published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.sampler import StudySampler, build_distributions
from ucluster_tune.study.events import KnownTrial
from ucluster_tune.tracking.dashboards import stores as dashboard_stores
from ucluster_tune.tracking.dashboards.stores import DashboardFile

SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "model.n_neighbors": {"type": "int", "low": 4, "high": 21, "step": 4},
    "loss.clustering_weight": {"type": "float", "low": 0.1, "high": 1.0, "step": 0.2},
    "training.global_batch_size": {"type": "categorical", "choices": [64, 128]},
}


def searched(**sampler: Any) -> StudyConfig:
    return study_config(search_space=SPACE, sampler=sampler)


def sampler_of(study: StudyConfig, **kwargs: Any) -> StudySampler:
    return StudySampler(study, name="jets", published_point=published_point(study), **kwargs)


def run(sampler: StudySampler, n_trials: int) -> list[dict[str, Any]]:
    asked = []
    for number in range(1, n_trials + 1):
        trial = f"{number:04d}"
        point = sampler.ask(trial)
        for epoch in (1, 2):
            sampler.report(trial, epoch, float(point["training.learning_rate"]) * epoch)
        if number % 3 == 0:
            sampler.tell(trial, "stopped_early")
        else:
            sampler.tell(trial, "complete", float(point["training.learning_rate"]) * 2)
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


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_suggestions_lie_in_the_space_and_follow_the_seed(name: str) -> None:
    points = run(sampler_of(searched(name=name)), 12)
    for point in points:
        assert 1e-4 <= point["training.learning_rate"] <= 1e-2
        assert point["model.n_neighbors"] in range(4, 21, 4)
        assert point["training.global_batch_size"] in (64, 128)
    assert points == run(sampler_of(searched(name=name)), 12)
    assert points[1:] != run(sampler_of(searched(name=name, seed=2)), 12)[1:]
    assert len({point["training.learning_rate"] for point in points}) == 12


def test_tpe_learns_where_random_does_not() -> None:
    def mean_of_last_20(name: str) -> float:
        rates = [p["training.learning_rate"] for p in run(sampler_of(searched(name=name)), 40)]
        return float(sum(rates[20:]) / 20)

    assert mean_of_last_20("tpe") > 1.5 * mean_of_last_20("random")


def test_published_point_comes_first_unless_switched_off() -> None:
    study = searched()
    assert sampler_of(study).ask("0001") == published_point(study)
    without = searched(published_first=False)
    assert sampler_of(without).ask("0001") != published_point(without)


def test_trials_at_the_same_time_get_different_points() -> None:
    sampler = sampler_of(searched())
    points = [sampler.ask(f"{number:04d}") for number in range(8)]
    assert len({point["training.learning_rate"] for point in points}) == 8


def test_space_of_one_fixed_point_can_be_asked_again_and_again(tmp_path: Path) -> None:
    sampler = sampler_of(study_config(), dashboards=DashboardFile(tmp_path / "optuna.db", "jets"))
    for number in range(6):
        assert sampler.ask(str(number)) == {}
        sampler.tell(str(number), "complete", 0.5)
    sampler.close()
    assert [trial.value for trial in stored(tmp_path / "optuna.db")] == [0.5] * 6


def test_dashboard_file_shows_every_trial_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    sampler = sampler_of(searched(), dashboards=DashboardFile(path, "jets"))
    run(sampler, 3)
    sampler.ask("0004")
    sampler.report("0004", 1, 0.3)
    sampler.report("0004", 2, float("nan"))
    for trial, outcome in {"0005": "failed", "0006": "interrupted"}.items():
        sampler.ask(trial)
        sampler.tell(trial, outcome)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("score", [None, float("nan")])
def test_complete_trial_without_a_score_counts_as_failed(
    tmp_path: Path, score: float | None
) -> None:
    sampler = sampler_of(searched(), dashboards=DashboardFile(tmp_path / "optuna.db", "jets"))
    sampler.ask("0001")
    sampler.tell("0001", "complete", score)
    sampler.close()
    assert stored(tmp_path / "optuna.db")[0].state == TrialState.FAIL


def test_file_held_by_another_process_is_caught_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dashboard_stores, "_BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "optuna.db"
    sampler = sampler_of(searched(), dashboards=DashboardFile(path, "jets"))
    sampler.ask("0001")
    wait_for(lambda: path.exists() and stored(path))
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        sampler.report("0001", 1, 0.4)
        sampler.tell("0001", "complete", 0.4)
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
    sampler = sampler_of(
        searched(), dashboards=DashboardFile(tmp_path / "missing" / "optuna.db", "jets")
    )
    run(sampler, 2)
    sampler.close()
    assert "unable to open database file" in caplog.text


def known(points: list[dict[str, Any]]) -> list[KnownTrial]:
    """The trials of `run`, as a record tells them."""
    rates = [float(point["training.learning_rate"]) for point in points]
    return [
        KnownTrial(
            id=f"{number:04d}",
            hyperparameters=point,
            outcome="complete" if number % 3 else "stopped_early",
            score=2 * rate,
            values={1: rate, 2: 2 * rate},
        )
        for number, (point, rate) in enumerate(zip(points, rates, strict=True), start=1)
    ]


def test_sampler_built_again_from_its_trials_suggests_as_if_it_never_stopped() -> None:
    study = searched(n_startup_trials=3)
    whole = run(sampler_of(study), 9)
    again = sampler_of(study, known=known(whole[:8]))
    assert again.describe() == "tpe sampler, 8 trials known"
    assert again.ask("0009") == whole[8]


def test_trial_that_goes_on_is_told_later(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    (point,) = run(sampler_of(searched()), 1)
    going_on = known([point])[0].model_copy(update={"outcome": "running", "values": {1: 0.1}})
    sampler = sampler_of(searched(), dashboards=DashboardFile(path, "jets"), known=[going_on])
    sampler.report("0001", 2, 0.2)
    sampler.tell("0001", "complete", 0.2)
    sampler.close()
    (trial,) = stored(path)
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.2)
    assert trial.intermediate_values == {1: 0.1, 2: 0.2}


def test_value_outside_a_narrowed_space_is_kept_and_the_others_teach(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    points = run(sampler_of(searched()), 6)
    narrow = SPACE | {"training.global_batch_size": {"type": "categorical", "choices": [64]}}
    study = study_config(search_space=narrow)
    sampler = sampler_of(study, dashboards=DashboardFile(path, "jets"), known=known(points))
    assert sampler.ask("0007")["training.global_batch_size"] == 64
    sampler.close()
    for trial, point in zip(stored(path), points, strict=False):
        outside = trial.user_attrs.get("outside_search_space", {})
        assert {**trial.params, **outside} == point
        assert (point["training.global_batch_size"] == 128) == bool(outside)


def test_file_of_an_earlier_driver_is_kept_where_it_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    first = sampler_of(searched(), dashboards=DashboardFile(path, "jets"))
    points = run(first, 3)
    first.close()
    inode = path.stat().st_ino
    second = sampler_of(searched(), dashboards=DashboardFile(path, "jets"), known=known(points))
    second.ask("0004")
    second.close()
    assert path.stat().st_ino == inode
    assert [t.state.name for t in stored(path)] == ["COMPLETE", "COMPLETE", "PRUNED", "RUNNING"]
    other = sampler_of(searched(), dashboards=DashboardFile(path, "jets"), known=known(points[:2]))
    other.close()
    assert path.stat().st_ino != inode
    assert len(stored(path)) == 2


def test_file_that_is_no_database_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    path.write_bytes(b"not a database")
    points = run(sampler_of(searched()), 2)
    sampler_of(searched(), dashboards=DashboardFile(path, "jets"), known=known(points)).close()
    assert len(stored(path)) == 2
