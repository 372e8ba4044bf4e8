"""Population based training: who goes on from whom, with which hyperparameters, after any kill."""

from pathlib import Path
from typing import Any

import pytest

from tests.simulated_search import SimulatedSearch, outline
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.search.schedulers.pbt import training_at
from ucluster_tune.study.record import StudyRecord

RATE = "training.learning_rate"
PBT: dict[str, Any] = {
    "scheduler": {"name": "pbt", "grace_period": 2, "interval": 2},
    "budget": {"n_trials": 8},
    "sampler": {"name": "auto", "seed": 5},
}


def children(record: StudyRecord) -> list[tuple[Any, Any]]:
    """Trials with those of their trainings that go on from another trial."""
    return [(t, s) for t in record.trials.values() for s in t.searched if s.plan.parent]


def test_the_worst_of_a_generation_goes_on_from_one_of_the_best(tmp_path: Path) -> None:
    search = SimulatedSearch(tmp_path, room=4, **PBT)
    record = search.drive()
    assert all(trial.outcome == "complete" for trial in record.trials.values())
    assert search.epochs_run == 8 * 6
    found = children(record)
    assert found
    for trial, training in found:
        parent = training.plan.parent
        assert parent.epoch in (2, 4)
        other = record.trials[parent.trial]
        values = {name: record.values_at[parent.epoch][name] for name in record.trials}
        assert values[trial.id] < values[parent.trial]
        assert other.trainings[parent.training] is training_at(other, parent.epoch)
        before = {**other.hyperparameters, **other.trainings[parent.training].plan.hyperparameters}
        after = training.plan.hyperparameters[RATE]
        low, high = 0.01, 0.2
        allowed = [min(max(factor * float(before[RATE]), low), high) for factor in (0.8, 1.2)]
        assert after in [pytest.approx(rate) for rate in allowed]
        # What it has learnt is the parent's: an epoch from there, with the rate of its own.
        start, first = values[parent.trial], training.records[0].clustering_accuracy
        assert first == pytest.approx(start + after * 1.1 * (1 - start))


def test_trial_that_goes_on_as_another_training_has_one_curve(tmp_path: Path) -> None:
    record = SimulatedSearch(tmp_path, room=4, **PBT).drive()
    for trial, training in children(record):
        assert [epoch.epoch for epoch in trial.records] == [1, 2, 3, 4, 5, 6]
        assert sorted(trial.times) == [1, 2, 3, 4, 5, 6]
        assert training.epochs_run == len(training.records)
        assert trial.best is max(trial.records, key=lambda e: e.clustering_accuracy)
    assert record.n_by_outcome == {"running": 0, "complete": 8}
    assert record.epochs_of_finished == 8 * 6


@pytest.mark.parametrize("room", [1, 4])
def test_killed_at_any_event_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, room: int
) -> None:
    undisturbed = SimulatedSearch(tmp_path / "undisturbed", room, **PBT)
    expected = outline(undisturbed.drive())
    for n_events in range(1, undisturbed.n_events, 9):
        search = SimulatedSearch(tmp_path / f"killed-{n_events}", room, **PBT)
        search.drive(n_events)
        resumed = search.drive()
        assert search.epochs_run == undisturbed.epochs_run
        if room == 1:  # side by side another one may come to a generation first
            assert outline(resumed) == expected, n_events
        assert {t.outcome for t in resumed.trials.values()} == {"complete"}
        for trial in resumed.trials.values():
            assert [epoch.epoch for epoch in trial.records] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("objective: {seeds_per_trial: 2}", "objective.seeds_per_trial: must be 1 with"),
        (
            "search_space: {training.n_epochs: {type: int, low: 30, high: 60}}",
            "search_space.training.n_epochs: must be fixed with scheduler.name pbt",
        ),
        (
            "search_space: {loss.focal_weight:"
            " {type: float, low: 1, high: 2, when: model.n_neighbors > 3}}",
            "search_space.loss.focal_weight.when: must be left out with scheduler.name pbt",
        ),
    ],
)
def test_what_cannot_go_with_it_is_refused(tmp_path: Path, lines: str, fault: str) -> None:
    file = tmp_path / "jets.yaml"
    file.write_text(f"data: {{path: jets}}\nscheduler: {{name: pbt}}\n{lines}\n")
    with pytest.raises(ConfigurationError, match=fault):
        load_study_config(file)


def test_checkpoints_that_are_lost_cost_the_epochs_since_the_parents_alone(tmp_path: Path) -> None:
    search = SimulatedSearch(tmp_path, **PBT)
    n_events, found = 60, children(search.drive(0))
    while not [s for _, s in found if s.epochs_run == 1 and s.outcome == "running"]:
        n_events += 1
        search = SimulatedSearch(tmp_path / str(n_events), **PBT)
        found = children(search.drive(n_events))
    trial, training = found[-1]
    search.kept[str(search.paths.trial(trial.id, training.plan.id).root)].clear()
    resumed = search.drive().trials[trial.id].trainings[training.plan.id]
    parent = training.plan.parent
    assert (resumed.restored_epochs, resumed.n_epochs_again) == ([parent.epoch], 1)
    assert resumed.outcome == "complete"
