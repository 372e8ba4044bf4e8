"""Trials of several seeds: what they are worth, what the sampler hears, kills at any moment."""

from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from tests.simulated_search import SimulatedSearch, outline
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.study.budget import used_up
from ucluster_tune.study.trainings import Outcome, TrialState

SEEDS: dict[str, Any] = {"objective": {"seeds_per_trial": 3}, "scheduler": {"name": "none"}}


def last_values(trial: TrialState) -> list[float]:
    return [training.records[-1].clustering_accuracy for training in trial.searched]


def test_trial_is_worth_the_mean_of_its_seeds_and_their_spread_is_recorded(
    tmp_path: Path,
) -> None:
    search = SimulatedSearch(tmp_path, **SEEDS)
    record = search.drive()
    assert search.epochs_run == 4 * 3 * 6
    for trial in record.trials.values():
        assert [t.plan.id for t in trial.searched] == ["first", "seed-2", "seed-3"]
        assert [t.plan.seed for t in trial.searched] == [1, 2, 3]
        values = last_values(trial)
        assert len(set(values)) == 3
        assert trial.score(record.objective) == pytest.approx(mean(values))
        assert trial.spread("clustering_accuracy") == pytest.approx(stdev(values))
        assert trial.best is not None
        assert trial.best.clustering_accuracy == max(values)
    assert record.best is max(record.trials.values(), key=lambda t: mean(last_values(t)))
    sampler = StudySampler(search.config, record)
    for trial, known in zip(record.trials.values(), sampler.what_it_knows(), strict=True):
        assert known.value == trial.score(record.objective)
        noise = known.user_attrs["noise"]
        assert noise == pytest.approx(stdev(last_values(trial)) / 3**0.5)


def test_a_seed_begins_only_where_the_first_one_was_not_stopped(tmp_path: Path) -> None:
    asha = {"name": "asha", "grace_period": 2, "reduction_factor": 2.0}
    fields = SEEDS | {"scheduler": asha, "budget": {"n_trials": 8}}
    search = SimulatedSearch(tmp_path, **fields)
    trials = search.drive().trials.values()
    by_outcome = {"complete": 3, "stopped_early": 1}
    assert {t.outcome for t in trials} == set(by_outcome)
    assert all(len(t.searched) == by_outcome[t.outcome] for t in trials)


def test_one_good_seed_is_no_better_trial_than_a_whole_one(tmp_path: Path) -> None:
    search = SimulatedSearch(tmp_path, budget={"n_trials": 2}, **SEEDS)
    whole = search.drive()
    assert whole.best is not None
    bad = min(whole.trials.values(), key=lambda t: t.score(whole.objective) or 0)
    good = whole.best
    for name in ("seed-2", "seed-3"):
        del good.trainings[name]
    whole._choose_best()
    assert not good.is_whole
    assert bad.is_whole
    assert (good.score(whole.objective) or 0) > (bad.score(whole.objective) or 0)
    assert whole.best is bad


@pytest.mark.parametrize(("room", "every"), [(1, 2), (3, 5)])
def test_driver_killed_at_any_event_loses_the_running_epochs_at_most(
    tmp_path: Path, room: int, every: int
) -> None:
    def search_in(name: str) -> SimulatedSearch:
        few: dict[str, Any] = {
            "budget": {"n_trials": 2},
            "training": {"n_epochs": 3, "n_pretraining_epochs": 1},
        }
        return SimulatedSearch(tmp_path / name, room, **few, **SEEDS)

    undisturbed = search_in("undisturbed")
    expected = outline(undisturbed.drive())
    for n_events in range(0, undisturbed.n_events, every):
        search = search_in(f"killed-{n_events}")
        search.drive(n_events)
        resumed = search.drive()
        assert outline(resumed) == expected, n_events
        assert search.epochs_run == undisturbed.epochs_run, n_events  # each has its checkpoint
        assert not resumed.running_trainings


def test_trial_of_which_a_seed_failed_has_failed_and_one_that_runs_goes_first(
    tmp_path: Path,
) -> None:
    trial = SimulatedSearch(tmp_path, budget={"n_trials": 1}, **SEEDS).drive().trials["0001"]
    told = []
    outcomes: tuple[tuple[str, Outcome], ...] = (
        ("seed-2", "failed"),
        ("seed-3", "interrupted"),
        ("first", "running"),
    )
    for name, outcome in outcomes:
        trial.trainings[name] = replace(trial.trainings[name], outcome=outcome, cause=name)
        told.append((trial.outcome, trial.cause))
    assert told == [("failed", "seed-2"), ("interrupted", "seed-3"), ("running", "first")]


def test_target_is_reached_by_the_mean_of_all_seeds_alone(tmp_path: Path) -> None:
    fields = SEEDS | {"budget": {"n_trials": 4, "target": 0.5}}
    record = SimulatedSearch(tmp_path, **fields).drive()
    (trial,) = record.trials.values()
    assert trial.is_whole
    assert used_up(record) == f"trial 0001 came to {trial.value('clustering_accuracy'):.4g}," + (
        " budget.target is 0.5"
    )
