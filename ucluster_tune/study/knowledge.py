"""What a study's record teaches the sampler and the scheduler; knows nothing of Optuna or Ray."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import EpochEnded, Event, KnownTrial, Value, WarmStart
from ucluster_tune.study.record import StudyRecord, TrialState


@dataclass(frozen=True)
class JudgedEpoch:
    """The objective of a trial after an epoch, None where it was not finite."""

    trial_id: str
    epoch: int
    value: float | None


def known_trials(record: StudyRecord, objective: ObjectiveConfig) -> list[KnownTrial]:
    """Return the study's trials so far, in order; interrupted ones as running: they go on."""
    return [_known(trial, trial.hyperparameters, objective) for trial in record.trials.values()]


def judged_epochs(events: Iterable[Event], objective: ObjectiveConfig) -> Iterator[JudgedEpoch]:
    """Yield the objective after each epoch, in the order of the journal."""
    for event in events:
        if isinstance(event, EpochEnded):
            value = event.record.get(objective.metric)
            yield JudgedEpoch(event.trial, int(event.record["epoch"]), value)


def warm_start_from(record: StudyRecord, config: StudyConfig) -> WarmStart:
    """Return what another study teaches a new one: its complete trials and those stopped early.

    Args:
        record: of the other study.
        config: of the new one.

    Raises:
        StudyError: the other study judges its trials by something else, or has none to learn from.
    """
    if record.objective != config.objective:
        raise StudyError(
            f"study {record.name} looks for {record.objective.direction} of"
            f" {record.objective.metric}, the new one for {config.objective.direction} of"
            f" {config.objective.metric}: their trials cannot be compared; leave --warm-start out"
        )
    other = StudyConfig.model_validate(record.config)
    trials = [
        _known(
            trial,
            {
                path: trial.hyperparameters.get(path, value_at(other, path))
                for path in config.search_space
            },
            config.objective,
        )
        for trial in record.trials.values()
        if trial.outcome in ("complete", "stopped_early") and trial.best is not None
    ]
    if not trials:
        raise StudyError(
            f"study {record.name} has no trial to learn from: none is complete or was stopped"
            " early; leave --warm-start out"
        )
    return WarmStart(study=record.name, trials=trials)


def differences(config: StudyConfig, other: StudyConfig) -> list[str]:
    """Return the dotted paths, searched ones left out, at which trials of two studies differ."""
    searched = {*config.search_space, *other.search_space}
    paths = [
        f"{name}.{key}"
        for name in ("data", "model", "loss", "training")
        for key in type(getattr(config, name)).model_fields
    ]
    return [
        path
        for path in paths
        if path not in searched and value_at(config, path) != value_at(other, path)
    ]


def _known(
    trial: TrialState, hyperparameters: Mapping[str, Value], objective: ObjectiveConfig
) -> KnownTrial:
    return KnownTrial(
        id=trial.id,
        hyperparameters=dict(hyperparameters),
        outcome="running" if trial.outcome == "interrupted" else trial.outcome,
        score=trial.score(objective),
        values=trial.objective_by_epoch(objective),
    )


def value_at(config: StudyConfig, path: str) -> Value:
    """Return the value at the dotted path of a section's key.

    Raises:
        AttributeError: there is none.
    """
    section, _, name = path.partition(".")
    value: Value = getattr(getattr(config, section), name)
    return value
