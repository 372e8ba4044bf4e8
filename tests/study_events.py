"""A small study told in events, for tests of what reads records."""

from typing import Any

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.study.events import (
    EpochEnded,
    StudyStarted,
    TrialEnded,
    TrialPlaced,
    TrialStarted,
)
from ucluster_tune.training.record import EpochRecord


def study_config(**sections: Any) -> StudyConfig:
    """A study of 4 trials of 6 epochs, 2 of them pretraining."""
    fields: dict[str, Any] = {
        "name": "jets",
        "data": {"path": "/jets"},
        "training": {"n_epochs": 6, "n_pretraining_epochs": 2},
        "budget": {"n_trials": 4},
    }
    return StudyConfig.model_validate(fields | sections)


def started(config: StudyConfig | None = None) -> StudyStarted:
    """The study's first event."""
    config = config or study_config()
    return StudyStarted(
        name="jets",
        config=config.model_dump(mode="json"),
        code_version="0.1.0",
        dataset_checksum="abc",
        tracking_uri="sqlite:////studies/mlflow.db",
        experiment_id="1",
        seed=1,
        reference_accuracy=0.81,
    )


def trial_started(trial: str, **hyperparameters: Any) -> TrialStarted:
    """A trial begins."""
    return TrialStarted(trial=trial, hyperparameters=hyperparameters)


def trial_placed(trial: str, waited_s: float = 1.0) -> TrialPlaced:
    """A trial has its CPUs and GPUs."""
    return TrialPlaced(trial=trial, waited_s=waited_s)


def epoch(trial: str, number: int, accuracy: Any, **values: Any) -> EpochEnded:
    """A trial reports an epoch."""
    record: dict[str, Any] = {
        "epoch": number,
        "phase": "pretraining" if number <= 2 else "clustering",
        "focal_loss": 4.0 / number,
        "clustering_loss": 0.5 / number,
        "total_loss": 5.0 / number,
        "learning_rate": 1e-3,
        "inverse_temperature": 0.0,
        "jets_per_second": 1000.0,
        "seconds": 2.0,
        "clustering_accuracy": accuracy,
        "clustering_accuracy_batched": accuracy,
        "purity": accuracy,
        "nmi": 0.2,
        "ari": 0.1,
        "confusion": [[3, 1, 0], [0, 4, 0], [1, 0, 3]],
        "class_names": ["w", "z", "t"],
        "warnings": [],
    }
    return EpochEnded(trial=trial, record=EpochRecord(**(record | values)))


def trial_ended(trial: str, outcome: Any, epochs: int, cause: str | None = None) -> TrialEnded:
    """A trial ends."""
    return TrialEnded(trial=trial, outcome=outcome, epochs=epochs, cause=cause)


def four_trials() -> list[Any]:
    """One complete trial, one stopped early, one failed, one running."""
    return [
        started(),
        trial_started("0001", **{"training.learning_rate": 1e-3}),
        trial_started("0002", **{"training.learning_rate": 1e-2}),
        *(epoch("0001", n, round(0.4 + 0.05 * n, 2)) for n in range(1, 7)),
        epoch("0002", 1, 0.3),
        trial_ended("0001", "complete", 6),
        epoch("0002", 2, 0.31),
        trial_ended("0002", "stopped_early", 2),
        trial_started("0003", **{"training.learning_rate": 3e-2}),
        epoch("0003", 1, 0.9),
        trial_ended("0003", "failed", 1, "loss is not finite in epoch 2"),
        trial_started("0004", **{"training.learning_rate": 2e-3}),
        epoch("0004", 1, 0.5),
    ]
