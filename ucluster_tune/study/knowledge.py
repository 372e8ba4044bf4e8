"""What a study's record teaches the sampler; knows nothing of Optuna or Ray."""

import math

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.points import SearchSpace, derived_values, published_point
from ucluster_tune.config.search_space import as_hyperparameter
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import KnownTrial, WarmStart
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState, Value


def known_trials(record: StudyRecord, objective: ObjectiveConfig) -> list[KnownTrial]:
    """Return the study's trials so far, in order; interrupted ones as running: they go on."""
    return [known_trial(trial, objective) for trial in record.trials.values()]


def known_trial(trial: TrialState, objective: ObjectiveConfig) -> KnownTrial:
    """Return what a trial teaches so far; an interrupted one is running: it goes on."""
    spread = trial.spread(objective.metric)
    return KnownTrial(
        id=trial.id,
        hyperparameters=trial.hyperparameters,
        outcome="running" if trial.outcome == "interrupted" else trial.outcome,
        score=trial.score(objective),
        others=trial.scores(objective)[1:],
        values=trial.objective_by_epoch(objective),
        noise=None if spread is None else spread / math.sqrt(trial.n_seeds),
        sampler_attributes=trial.sampler_attributes,
    )


def settings(record: StudyRecord, trial: TrialState) -> dict[str, Value]:
    """Return a trial's hyperparameters, and the values that the study's formulas make of them."""
    if not record.config.get("derived"):
        return trial.hyperparameters
    config = StudyConfig.model_validate(record.config)
    return {**trial.hyperparameters, **derived_values(config, trial.hyperparameters)}


def warm_start_from(record: StudyRecord, config: StudyConfig) -> WarmStart:
    """Return what another study teaches a new one: its complete trials and those stopped early.

    Args:
        record: of the other study.
        config: of the new one.

    Raises:
        StudyError: the other study judges its trials by something else, or has none to learn from.
    """
    seeds = {"seeds_per_trial": config.objective.seeds_per_trial}
    if record.objective.model_copy(update=seeds) != config.objective:
        raise StudyError(
            f"study {record.name} looks for {record.objective.direction} of"
            f" {' and '.join(record.objective.metrics)}, the new one for"
            f" {config.objective.direction} of {' and '.join(config.objective.metrics)}: their"
            " trials cannot be compared; leave --warm-start out"
        )
    other = StudyConfig.model_validate(record.config)
    trials = [
        known_trial(trial, config.objective).model_copy(
            update={
                "hyperparameters": _in_space(config, other, trial),
                "sampler_attributes": {},  # of another study's sampler
            }
        )
        for trial in record.trials.values()
        if trial.outcome in ("complete", "stopped_early") and trial.best is not None
    ]
    if not trials:
        raise StudyError(
            f"study {record.name} has no trial to learn from: none is complete or was stopped"
            " early; leave --warm-start out"
        )
    differing, point = differences(config, other), published_point(config)
    same = (trial.id for trial in trials if trial.hyperparameters == point and not differing)
    return WarmStart(
        study=record.name, trials=trials, differing=differing, published=next(same, None)
    )


def first_point(config: StudyConfig, record: StudyRecord) -> dict[str, Value] | None:
    """Return the published recipe, fitted into the ranges, for the first trial of a study.

    None where the study that taught this one has it.
    """
    taught = record.warm_start
    return None if taught and taught.published else published_point(config)


def _in_space(config: StudyConfig, other: StudyConfig, trial: TrialState) -> dict[str, Value]:
    """Return a trial of another study as a point of this one's space."""
    _, values = SearchSpace(other, trial.hyperparameters).completed(trial.hyperparameters)
    point, _ = SearchSpace(config).completed(values)
    return {path: value for path, value in point.items() if path in values}


def differences(config: StudyConfig, other: StudyConfig) -> list[str]:
    """Return the dotted paths, searched ones left out, at which trials of two studies differ."""
    searched = {*config.search_space, *other.search_space, *config.derived, *other.derived}
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


def value_at(config: StudyConfig, path: str) -> Value:
    """Return the value at the dotted path of a section's key.

    Raises:
        AttributeError: there is none.
    """
    section, _, name = path.partition(".")
    return as_hyperparameter(getattr(getattr(config, section), name))
