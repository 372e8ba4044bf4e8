import json
import time
from typing import Any

import pytest

from tests.study_events import (
    epoch,
    four_trials,
    started,
    study_config,
    trial_ended,
    trial_placed,
    trial_started,
)
from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    StudyEnded,
    StudyEvaluated,
    TrainingStarted,
    TrialEnded,
    TrialResumed,
    TrialStarted,
    parse_event,
)
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import closing_events
from ucluster_tune.study.trainings import ParentCheckpoint, TrainingPlan
from ucluster_tune.training.record import EpochRecord, best_record, epoch_rank


def fold(events: list[Any]) -> StudyRecord:
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
    return record


def test_fold_tells_each_trial_and_counts_them() -> None:
    record = fold(four_trials())
    assert {trial.id: trial.outcome for trial in record.trials.values()} == {
        "0001": "complete",
        "0002": "stopped_early",
        "0003": "failed",
        "0004": "running",
    }
    assert [trial.epochs for trial in record.trials.values()] == [6, 2, 1, 1]
    assert record.trials["0003"].cause == "loss is not finite in epoch 2"
    assert list(record.running) == ["0004"]
    assert +record.n_by_outcome == {"complete": 1, "stopped_early": 1, "failed": 1, "running": 1}
    assert (record.n_finished, record.n_trials, record.state) == (3, 4, "running")


def test_best_at_each_moment_is_the_best_of_a_fresh_look() -> None:
    events = four_trials()
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
        ranks = {t.id: t.rank for t in record.trials.values() if t.rank and t.outcome != "failed"}
        best = max(ranks, key=lambda trial: ranks[trial]) if ranks else None
        assert (record.best.id if record.best else None) == best


def test_failed_trial_is_never_the_best() -> None:
    record = fold([started(), trial_started("0001"), epoch("0001", 3, 0.9)])
    assert record.best is record.trials["0001"]
    record.apply(trial_ended("0001", "failed", 3, "killed"))
    assert record.best is None


def test_score_is_that_of_the_best_epoch_of_the_clustering_phase() -> None:
    accuracies = [0.9, 0.8, 0.5, 0.7, 0.6]
    epochs = [epoch("0001", n, accuracy) for n, accuracy in enumerate(accuracies, start=1)]
    record = fold([started(), trial_started("0001"), *epochs])
    assert record.best is not None
    assert (record.best.best_epoch, record.best.score(record.objective)) == (4, 0.7)


def test_pretraining_alone_does_not_beat_a_clustering_trial() -> None:
    events = [started(), trial_started("0001"), epoch("0001", 3, 0.5), trial_started("0002")]
    record = fold([*events, epoch("0002", 1, 0.9)])
    assert record.best is record.trials["0001"]


def test_minimized_loss_has_its_best_at_the_bottom() -> None:
    config = study_config(objective={"metric": "total_loss", "direction": "minimize"})
    record = fold([started(config), trial_started("0001")])
    for number, loss in enumerate([0.1, 0.1, 5.0, 3.0, 4.0], start=1):
        record.apply(epoch("0001", number, 0.5, total_loss=loss))
    assert record.trials["0001"].score(record.objective) == 3.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_epoch_without_a_number_has_no_rank(value: float) -> None:
    assert epoch_rank(EpochRecord(epoch=1, clustering_accuracy=value), ObjectiveConfig()) is None
    record = fold([started(), trial_started("0001"), epoch("0001", 1, value)])
    assert record.best is None
    assert record.trials["0001"].epochs == 1


def test_the_first_of_two_equal_epochs_is_the_best() -> None:
    record = fold([started(), trial_started("0001")])
    for number in (3, 4, 5):
        record.apply(epoch("0001", number, 0.5))
    assert record.trials["0001"].best_epoch == 3
    first, second = (EpochRecord(epoch=n, clustering_accuracy=0.5) for n in (3, 4))
    assert best_record(first, second, ObjectiveConfig()) is first  # as a worker keeps checkpoints


def test_the_first_of_two_equal_trials_is_the_best() -> None:
    record = fold([started(), trial_started("0001"), trial_started("0002")])
    record.apply(epoch("0002", 3, 0.5))
    record.apply(epoch("0001", 3, 0.5))
    assert record.best is record.trials["0002"]


def test_epoch_of_an_older_or_a_newer_program_is_read() -> None:
    values = {"epoch": 2, "phase": "clustering", "nmi": None, "purity": 0.5, "of_later": [1]}
    line = json.dumps({"event": "epoch", "trial": "0001", "record": values})
    event = parse_event(line.encode())
    assert isinstance(event, EpochEnded)
    assert event.record.value("purity") == 0.5
    assert event.record.value("nmi") is None
    assert event.record.value("clustering_accuracy") is None
    assert event.record.warnings == []


def test_values_at_an_epoch_are_those_of_the_record_after_an_epoch_was_run_again() -> None:
    record = fold([started(), trial_started("0001"), trial_started("0002")])
    for number, accuracy in enumerate([0.1, 0.2, 0.3], start=1):
        record.apply(epoch("0001", number, accuracy))
    record.apply(epoch("0002", 2, 0.25))
    assert record.values_at[2].before("0002") == [0.2]
    record.apply(epoch("0001", 2, 0.4))  # comes there anew, and has not come to the third yet
    assert record.values_at[2].before("0001") == [0.25]
    assert record.values_at[2].before("0002") == []
    assert "0001" not in record.values_at[3]


def test_epoch_run_again_replaces_the_old_one_and_all_after_it() -> None:
    record = fold([started(), trial_started("0001")])
    for number, accuracy in enumerate([0.1, 0.2, 0.5, 0.9], start=1):
        record.apply(epoch("0001", number, accuracy))
    record.apply(epoch("0001", 4, 0.4))
    trial = record.trials["0001"]
    assert [old.epoch for old in trial.records] == [1, 2, 3, 4]
    assert (trial.best_epoch, record.best) == (3, trial)


def test_best_trial_that_is_worse_when_run_again_is_no_longer_the_best() -> None:
    record = fold([started(), trial_started("0001"), epoch("0001", 3, 0.5)])
    record.apply(trial_started("0002"))
    record.apply(epoch("0002", 3, 0.9))
    record.apply(epoch("0002", 3, 0.4))
    assert record.best is record.trials["0001"]


def test_tuned_number_of_epochs_is_the_trials_own() -> None:
    record = fold([started(), trial_started("0001", **{"training.n_epochs": 9})])
    record.apply(trial_started("0002"))
    assert [trial.n_epochs for trial in record.trials.values()] == [9, 6]


def test_evaluation_and_end_are_kept() -> None:
    record = fold(four_trials())
    assert record.best_test is None
    baselines = {"kmeans_mass": {"clustering_accuracy": 0.6}}
    test = {"clustering_accuracy": 0.68}
    record.apply(StudyEvaluated(trial="0001", test=test, baselines=baselines))
    record.apply(StudyEnded(state="failed", cause="no room"))
    assert record.best_test == test
    assert record.baselines == baselines
    assert record.state == "failed"
    assert record.cause == "no room"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (trial_started("0001"), "starts twice"),
        (epoch("0009", 1, 0.5), "0009 is in its record but never starts"),
        (trial_ended("0009", "complete", 1), "never starts"),
        (started(), "starts twice"),
    ],
)
def test_events_that_contradict_each_other_are_refused(event: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        fold([*four_trials(), event])


def test_an_event_costs_the_same_with_many_trials() -> None:
    def seconds_of_200_epochs(n_trials: int) -> float:
        record = StudyRecord(started())
        for number in range(n_trials):
            record.apply(trial_started(f"{number:04d}"))
            record.apply(epoch(f"{number:04d}", 1, 0.3))
            record.apply(trial_ended(f"{number:04d}", "stopped_early", 1))
        durations = []
        for repetition in range(7):
            record.apply(trial_started(f"last-{repetition}"))
            events = [epoch(f"last-{repetition}", n, 0.5) for n in range(1, 201)]
            begin = time.perf_counter()
            for event in events:
                record.apply(event)
            durations.append(time.perf_counter() - begin)
        return min(durations)

    assert seconds_of_200_epochs(3000) < 5 * seconds_of_200_epochs(3)


def test_trial_waits_from_its_start_until_it_is_placed():
    record = fold([started(), trial_started("0001"), trial_started("0002")])
    trial = record.trials["0001"]
    assert trial.is_waiting
    assert trial.waiting_since == trial.started
    record.apply(trial_placed("0001"))
    assert not trial.is_waiting
    assert record.trials["0002"].is_waiting


def test_trial_waits_again_when_it_lost_its_place_but_not_when_a_worker_died():
    record = fold([started(), trial_started("0001"), trial_placed("0001")])
    trial = record.trials["0001"]
    record.apply(TrialResumed(trial="0001", cause="worker 1 died", is_retry=True))
    assert not trial.is_waiting
    lost = TrialResumed(trial="0001", cause="its process died", is_retry=True, kind="worker_lost")
    record.apply(lost)
    assert trial.waiting_since == lost.time
    record.apply(trial_placed("0001"))
    record.apply(TrialResumed(trial="0001", cause="a node", kind="node_lost"))
    assert (trial.is_waiting, trial.n_lost_nodes) == (True, 1)
    record.apply(trial_ended("0001", "interrupted", 0))
    assert not trial.is_waiting


def test_trial_of_an_older_record_that_has_epochs_does_not_wait():
    record = fold([started(), trial_started("0001"), epoch("0001", 1, 0.5)])
    assert not record.trials["0001"].is_waiting


def search_of_two_trials() -> StudyRecord:
    """The first one reached 0.5 after 4 epochs, the second one 0.7 after 6."""
    record = fold([started(), trial_started("0001"), trial_started("0002")])
    for number in range(1, 5):
        record.apply(epoch("0001", number, 0.1 + 0.1 * number))
    for number in range(1, 7):
        record.apply(epoch("0002", number, 0.1 + 0.1 * number))
    record.apply(trial_ended("0002", "complete", 6))
    return record


def test_training_that_begins_from_anothers_checkpoint_is_what_the_trial_goes_on_with() -> None:
    record = search_of_two_trials()
    record.apply(trial_ended("0001", "stopped_early", 4))
    parent = ParentCheckpoint(trial="0002", epoch=4)
    plan = TrainingPlan(
        id="from-0002",
        seed=1,
        world_size=4,
        parent=parent,
        hyperparameters={"training.learning_rate": 0.5},
    )
    record.apply(TrainingStarted(trial="0001", training=plan))
    trial = record.trials["0001"]
    assert (trial.outcome, trial.epochs, list(record.running)) == ("running", 4, ["0001"])
    assert trial.best_training is trial.trainings["first"]
    for number, accuracy in ((5, 0.85), (6, 0.9)):
        record.apply(epoch("0001", number, accuracy).model_copy(update={"training": plan.id}))
    assert (trial.epochs, trial.best_epoch, trial.score(record.objective)) == (6, 6, 0.9)
    assert record.best is trial
    assert trial.best_training.plan == plan
    record.apply(trial_ended("0001", "complete", 6).model_copy(update={"training": plan.id}))
    assert [t.outcome for t in trial.trainings.values()] == ["stopped_early", "complete"]
    assert (record.n_finished, len(record.trials), record.running) == (2, 2, {})
    assert not record.running_trainings


FINAL = TrainingPlan(id="seed-2", role="final", seed=2, world_size=1)


def test_finalist_is_no_trial_of_the_search_and_teaches_nobody() -> None:
    record = search_of_two_trials()
    told: list[Any] = []
    config = study_config()
    sampler = StudySampler(config, record)
    before = [(t.state, t.intermediate_values) for t in sampler.what_it_knows()]
    events: list[Event] = [
        TrainingStarted(trial="0002", training=FINAL),
        *(epoch("0002", n, 0.99).model_copy(update={"training": "seed-2"}) for n in range(1, 7)),
    ]
    for event in events:
        record.apply(event)
        sampler.on_event(event, record)
        told.append(record.is_searched(event))
    trial = record.trials["0002"]
    assert told == [False] * 7
    assert [(t.state, t.intermediate_values) for t in sampler.what_it_knows()] == before
    assert trial.outcome == "complete"
    assert trial.score(record.objective) == pytest.approx(0.7)
    assert trial.trainings["seed-2"].best is not None
    assert list(record.running) == ["0001"]
    assert list(record.running_trainings) == [("0001", "first"), ("0002", "seed-2")]
    assert "0002" in record.values_at[6]
    assert record.values_at[6]["0002"] == pytest.approx(0.7)
    assert record.best is trial
    assert (record.n_finished, sum(record.n_by_outcome.values())) == (1, 2)
    closing = closing_events(record)
    assert [(e.trial, e.training) for e in closing if isinstance(e, TrialEnded)] == [
        *(("0001", "first"), ("0002", "seed-2"))
    ]


def test_trial_that_nobody_suggested_is_kept_beside_those_of_the_search() -> None:
    record = search_of_two_trials()
    recipe = TrialStarted(
        trial="published",
        hyperparameters={},
        training=TrainingPlan(role="baseline", seed=1, world_size=2),
    )
    record.apply(recipe)
    record.apply(epoch("published", 3, 0.99))
    record.apply(trial_ended("published", "complete", 6))
    assert list(record.trials) == ["0001", "0002"]
    assert record.other_trials["published"].trainings["first"].best is not None
    assert record.best is record.trials["0002"]
    assert (record.n_finished, record.n_trials) == (1, 4)
    assert not record.is_searched(recipe)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (TrainingStarted(trial="0009", training=FINAL), "0009 is in its record but never starts"),
        (TrainingStarted(trial="0001", training=TrainingPlan()), "training first .* starts twice"),
        (
            TrainingStarted(
                trial="0001",
                training=TrainingPlan(id="b", parent=ParentCheckpoint(trial="0002", epoch=7)),
            ),
            "begins from an epoch that never was",
        ),
        (
            epoch("0001", 5, 0.5).model_copy(update={"training": "seed-9"}),
            "training seed-9 of trial 0001 is in its record but never starts",
        ),
    ],
)
def test_trainings_that_contradict_the_record_are_refused(event: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        search_of_two_trials().apply(event)
