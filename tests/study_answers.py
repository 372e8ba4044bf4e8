"""Yardsticks and a confirmation told in events, for tests of what reads records."""

from typing import Any

from ucluster_tune.study.events import (
    ConfirmationEnded,
    ConfirmationPlanned,
    EpochEnded,
    StudyEnded,
    StudyResumed,
    TrainingEvaluated,
    TrainingStarted,
    TrialEnded,
    TrialStarted,
    YardsticksMeasured,
)
from ucluster_tune.study.finalists import (
    Comparison,
    ConfirmationPlan,
    ConfirmationResult,
    Contender,
    Estimate,
)
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.training.yardsticks import Measured, Yardstick, Yardsticks

PLAN = ConfirmationPlan(
    id="c1", finalists=["0001"], published="published", seeds=[11, 12], world_size=1
)


def measured(accuracy: float) -> Measured:
    """Some clusters of twelve jets."""
    return Measured(
        n_jets=12,
        clustering_accuracy=accuracy,
        clustering_accuracy_interval=(accuracy - 0.1, accuracy + 0.1),
        clustering_accuracy_batched=accuracy + 0.01,
        clustering_accuracy_batched_interval=(accuracy - 0.09, accuracy + 0.11),
        purity=accuracy,
        nmi=0.4,
        ari=0.3,
        confusion=[[4, 0, 0], [0, 4, 0], [0, 0, 4]],
    )


def yardsticks(*, is_reference_data: bool = False) -> Yardsticks:
    """k-means on the mass 61 %, thresholds 82 %."""
    accuracies = {"kmeans_mass": 0.61, "mass_thresholds": 0.82}
    return Yardsticks(
        dataset_name="sample",
        dataset_checksum="abc",
        class_names=["w", "z", "t"],
        evaluation_batch_size=512,
        n_chosen_on=40,
        is_reference_data=is_reference_data,
        yardsticks=[
            Yardstick(
                name,
                uses_labels=name == "mass_thresholds",
                how="in words",
                by_split={"validation": measured(a + 0.01), "test": measured(a)},
            )
            for name, a in accuracies.items()
        ],
        seconds=1.5,
    )


def estimate(mean: float, probability: float = 0.5) -> Estimate:
    """A mean with an interval of two points to each side."""
    return Estimate(mean, (mean - 0.02, mean + 0.02), 0.01, probability)


def result() -> ConfirmationResult:
    """Trial 0001 is two points better than the published recipe."""
    both = ("clustering_accuracy", "clustering_accuracy_batched")
    return ConfirmationResult(
        chosen="0001",
        n_test_jets=12,
        contenders=[
            Contender(
                trial,
                is_published=trial == "published",
                seeds=[11, 12],
                best_epochs=[3, 3],
                validation=accuracy,
                test=dict.fromkeys(both, estimate(accuracy)),
                by_seed=[measured(accuracy)] * 2,
                search_score=0.7 if trial == "0001" else None,
                optimism=0.7 - accuracy if trial == "0001" else None,
            )
            for trial, accuracy in (("0001", 0.66), ("published", 0.64))
        ],
        comparisons=[
            Comparison(
                to="published",
                title="the published recipe",
                protocol="clustering_accuracy",
                difference=estimate(0.02, 0.9),
                verdict="undecided",
                is_on_same_jets=True,
                words="not better than the published recipe: +2.0 points",
            )
        ],
        yardsticks=yardsticks(),
        words=["Trial 0001 is not better than the published recipe."],
    )


def confirmation(*, is_ended: bool = True) -> list[Any]:
    """A driver that trains both configurations with the first seed, or with all of them."""
    events: list[Any] = [
        YardsticksMeasured(yardsticks=yardsticks()),
        StudyResumed(code_version="0", host="here", purpose="confirmation"),
        ConfirmationPlanned(plan=PLAN),
    ]
    known = {"0001"}
    for trial, plan in PLAN.trainings() if is_ended else PLAN.trainings()[:2]:
        if trial in known:
            events.append(TrainingStarted(trial=trial, training=plan))
        else:
            events.append(TrialStarted(trial=trial, hyperparameters={}, training=plan))
        known.add(trial)
        record = EpochRecord(epoch=3, phase="clustering", clustering_accuracy=0.99)
        events.append(EpochEnded(trial=trial, training=plan.id, record=record))
        end = TrialEnded(trial=trial, training=plan.id, outcome="complete", epochs=6)
        test = TrainingEvaluated(trial=trial, training=plan.id, test=measured(0.66))
        events += [end, test]
    if is_ended:
        events.append(ConfirmationEnded(confirmation="c1", result=result()))
    return [*events, StudyEnded(state="complete" if is_ended else "interrupted")]
