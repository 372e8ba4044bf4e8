"""What is planned and concluded of finalists, on made-up clusters of which the answer is known."""

from typing import Any

import numpy as np
import pytest

from tests.study_answers import result, yardsticks
from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.errors import StudyError
from ucluster_tune.study.confirmed import ConfirmationJudge
from ucluster_tune.study.confirming import (
    ConfirmationRequest,
    known_trainings,
    plan_confirmation,
)
from ucluster_tune.study.events import (
    ConfirmationEnded,
    ConfirmationPlanned,
    EpochEnded,
    TrainingStarted,
    TrialEnded,
    TrialStarted,
)
from ucluster_tune.study.finalists import ConfirmationPlan, ConfirmationResult
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.training.yardstick_measures import Clustered

RATE = "training.learning_rate"
CONFIG = study_config(
    search_space={RATE: {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
)
PUBLISHED_RATE = 1e-3  # as the defaults have it
JET_CLASS = np.tile([0, 1, 2], 1000)


def searched(**accuracies: float) -> StudyRecord:
    """Trials `t0001` and so on that reached these accuracies, each with a learning rate."""
    record = StudyRecord(started(CONFIG))
    for number, (name, accuracy) in enumerate(accuracies.items(), start=2):
        trial = name.removeprefix("t")
        record.apply(trial_started(trial, **{RATE: 1e-3 * number}))
        record.apply(epoch(trial, 3, accuracy))
        record.apply(trial_ended(trial, "complete", 6))
    return record


def plan(record: StudyRecord, **asked: Any) -> ConfirmationPlan:
    return plan_confirmation(record, CONFIG, ConfirmationRequest(**asked), "abc", 3)


def test_best_trials_are_the_finalists_and_the_recipe_stands_beside_them() -> None:
    record = searched(t0001=0.5, t0002=0.7, t0003=0.6)
    record.apply(trial_started("0004", **{RATE: 0.05}))
    record.apply(epoch("0004", 3, 0.9))
    record.apply(trial_ended("0004", "failed", 3))
    found = plan(record, top=2, n_seeds=4)
    assert found.contenders == ["0002", "0003", "published"]
    assert len({*found.seeds, record.seed}) == 5
    assert plan(record, top=2, n_seeds=4) == found
    assert plan(record, top=2, with_published=False).contenders == ["0002", "0003"]


def test_finalist_that_is_the_published_recipe_is_not_trained_twice() -> None:
    record = searched(t0001=0.5)
    recipe = TrialStarted(trial="0002", hyperparameters={RATE: PUBLISHED_RATE})
    for event in (recipe, epoch("0002", 3, 0.6), trial_ended("0002", "complete", 6)):
        record.apply(event)
    found = plan(record, top=2)
    assert (found.contenders, found.published) == (["0002", "0001"], "0002")
    assert {p.role for _, p in found.trainings()} == {"final"}


def test_same_configuration_twice_is_one_finalist() -> None:
    record = searched(t0001=0.5, t0002=0.7)
    record.trials["0001"].hyperparameters = record.trials["0002"].hyperparameters
    assert plan(record).finalists == ["0002"]


def test_study_without_an_epoch_has_nothing_to_confirm() -> None:
    with pytest.raises(StudyError, match="no trial to confirm yet"):
        plan(StudyRecord(started(CONFIG)))


def test_open_confirmation_goes_on_and_another_one_is_refused() -> None:
    record = searched(t0001=0.5)
    first = plan(record, n_seeds=2)
    record.apply(ConfirmationPlanned(plan=first))
    assert plan(record) == plan(record, n_seeds=2, top=1) == first
    with pytest.raises(StudyError, match=r"c1, with --seeds 2, not 3: carry it on"):
        plan(record, n_seeds=3)
    with pytest.raises(StudyError, match=r"c1, without --supervised: carry it on"):
        plan(record, is_supervised=True)


def test_confirmation_whose_trainings_all_failed_gives_way_to_another_one() -> None:
    record = searched(t0001=0.5)
    first = plan(record, n_seeds=1, with_published=False)
    record.apply(ConfirmationPlanned(plan=first))
    for trial, training in first.trainings():
        record.apply(TrainingStarted(trial=trial, training=training))
        end = TrialEnded(trial=trial, training=training.id, outcome="failed", epochs=0)
        assert plan(record) == first
        record.apply(end)
    assert plan(record, n_seeds=2).id == "c2"


def test_seeds_of_a_second_confirmation_are_fresh() -> None:
    record = searched(t0001=0.5)
    first = plan(record, n_seeds=3)
    record.apply(ConfirmationPlanned(plan=first))
    record.apply(ConfirmationEnded(confirmation="c1", result=result()))
    second = plan(record, n_seeds=3)
    assert second.id == "c2"
    assert not {*first.seeds} & {*second.seeds}


def clusters(accuracy: float, seed: int) -> Any:
    """So many jets in the cluster of their class, permuted."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(JET_CLASS)) > accuracy
    return (JET_CLASS + np.where(wrong, generator.integers(1, 3, len(JET_CLASS)), 0) + 1) % 3


def concluded(accuracies: dict[str, float], n_seeds: int = 4, **lost: int) -> ConfirmationResult:
    """What is concluded where each contender reaches an accuracy on test jets.

    Args:
        accuracies: of contenders.
        n_seeds: of each.
        lost: trainings, of a trial `t0001`, that failed.
    """
    record = searched(t0001=0.8, t0002=0.7)
    confirmation = plan(record, top=2, n_seeds=n_seeds, is_supervised="supervised" in accuracies)
    record.apply(ConfirmationPlanned(plan=confirmation))
    found = {}
    for number, (trial, training) in enumerate(confirmation.trainings()):
        event: Any = TrainingStarted(trial=trial, training=training)
        if trial in ("published", "supervised") and trial not in record.other_trials:
            event = TrialStarted(trial=trial, hyperparameters={}, training=training)
        record.apply(event)
        accuracy = accuracies[trial]
        told = EpochRecord(epoch=3, phase="clustering", clustering_accuracy=accuracy - 0.01)
        record.apply(EpochEnded(trial=trial, training=training.id, record=told))
        has_failed = number // len(accuracies) < lost.get(f"t{trial}", 0)
        outcome: Any = "failed" if has_failed else "complete"
        record.apply(TrialEnded(trial=trial, training=training.id, outcome=outcome, epochs=6))
        found[trial, training.id] = clusters(accuracy, number)
    assert len(known_trainings(record, confirmation)) == len(accuracies) * n_seeds
    ways = [
        Clustered("kmeans_mass", False, "", 3, {"test": clusters(0.61, 98)}),
        Clustered("mass_thresholds", True, "", 3, {"test": clusters(0.82, 99)}),
    ]
    judge = ConfirmationJudge(record, confirmation, CONFIG, found, JET_CLASS, yardsticks(), ways)
    return judge.result()


def test_chosen_on_validation_jets_and_quoted_on_test_jets_with_what_the_search_promised() -> None:
    found = concluded({"0001": 0.64, "0002": 0.66, "published": 0.60})
    assert (found.chosen, found.n_test_jets) == ("0002", 3000)
    won = found.winner
    assert won.validation == pytest.approx(0.65)
    assert won.test["clustering_accuracy"].mean == pytest.approx(0.66, abs=0.02)
    assert won.search_score == 0.7
    assert won.optimism == pytest.approx(0.7 - won.test["clustering_accuracy"].mean)
    assert found.contender("published").is_published
    assert found.contender("published").search_score is None
    assert "Trial 0002, trained again with 4 fresh seeds, reaches 66." in found.words[0]
    assert "points lower" in found.words[1]


def test_comparisons_tell_what_is_better_worse_and_not_known() -> None:
    found = concluded({"0001": 0.66, "0002": 0.655, "published": 0.61})
    verdicts = {(c.to, c.protocol): c.verdict for c in found.comparisons}
    once = "clustering_accuracy"
    assert verdicts["published", once] == "better"
    assert verdicts["0002", once] == "undecided"
    assert verdicts["kmeans_mass", once] == "better"
    assert verdicts["mass_thresholds", once] == "worse"
    by_name = {(c.to, c.protocol): c for c in found.comparisons}
    published = by_name["published", once].difference
    assert published.mean == pytest.approx(0.05, abs=0.02)
    assert published.probability_above_zero > 0.99
    sentences = " ".join(found.words)
    assert "It is better than the published recipe: +" in sentences
    assert "It is worse than two mass thresholds (use labels): -" in sentences


def test_network_with_labels_is_no_finalist_and_stands_as_what_uses_labels() -> None:
    found = concluded({"0001": 0.66, "0002": 0.6, "published": 0.61, "supervised": 0.9})
    bound = found.contender("supervised")
    assert (found.chosen, bound.uses_labels, bound.title) == (
        "0001", True, "supervised, uses labels"
    )  # fmt: skip
    assert bound.test["clustering_accuracy"].mean == pytest.approx(0.9, abs=0.02)
    sentences = " ".join(found.words)
    assert "It is worse than the same network trained with labels: -2" in sentences


def test_reference_of_other_jets_is_compared_in_its_own_protocol_and_told_so() -> None:
    found = concluded({"0001": 0.66, "0002": 0.6, "published": 0.61})
    (against,) = [c for c in found.comparisons if c.to == "reference"]
    assert (against.protocol, against.is_on_same_jets) == ("clustering_accuracy_batched", False)
    assert against.difference.mean == pytest.approx(
        found.winner.test["clustering_accuracy_batched"].mean - 0.81
    )
    assert "(on other jets)" in against.title


def test_seeds_that_failed_are_left_out_of_the_pairs() -> None:
    found = concluded({"0001": 0.66, "0002": 0.6, "published": 0.61}, t0001=1)
    assert len(found.winner.seeds) == 3
    assert len(found.contender("published").seeds) == 4


def test_one_seed_is_told_to_know_of_the_jets_alone() -> None:
    found = concluded({"0001": 0.66, "0002": 0.6, "published": 0.61}, n_seeds=1)
    assert found.winner.test["clustering_accuracy"].spread is None
    assert "With one seed the intervals know of the jets alone." in found.words


def test_confirmation_whose_finalists_all_failed_has_no_result() -> None:
    with pytest.raises(StudyError, match="no training of a finalist came to its end"):
        concluded({"0001": 0.66, "0002": 0.6, "published": 0.61}, n_seeds=2, t0001=2, t0002=2)
