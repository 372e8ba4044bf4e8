"""A study's trials as Optuna has them: what its samplers learn from, and its dashboards show."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from ucluster_tune.study.events import KnownTrial
from ucluster_tune.study.trainings import Outcome, Value

TRIAL, OF_ANOTHER_STUDY = "trial", "of_another_study"  # attributes of Optuna's trials
NOISE: Final = "noise"  # likewise: see `KnownTrial`
_OUTSIDE: Final = "outside_search_space"
_STATES: Final[dict[Outcome, TrialState]] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "stopped_early": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}


def optuna_trial(
    known: KnownTrial,
    distributions: Mapping[str, BaseDistribution],
    attributes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """Return a trial as Optuna has it.

    A complete trial counts with its scores; one stopped early as pruned, with the values that it
    reported, which Optuna takes of a single objective only; failed and interrupted ones as failed,
    which teaches nothing. A value that is outside of the search space, which an extension may have
    narrowed, is kept as an attribute: what a sampler learns from are the trial's other values.

    Args:
        known: the trial.
        distributions: of the search space, by dotted name.
        attributes: further ones, to be shown.
    """
    state, values = told_outcome(known)
    inside: dict[str, Value] = {}
    outside: dict[str, Value] = {}
    for name, value in known.hyperparameters.items():
        distribution = distributions.get(name)
        is_inside = distribution is not None and contains(distribution, value)
        (inside if is_inside else outside)[name] = value
    return create_trial(
        state=state,
        values=values,
        params=inside,
        distributions={name: distributions[name] for name in inside},
        user_attrs={
            TRIAL: known.id,
            **({_OUTSIDE: outside} if outside else {}),
            **({} if known.noise is None else {NOISE: known.noise}),
            **(attributes or {}),
        },
        system_attrs=known.sampler_attributes,
        intermediate_values={} if known.others else known.values,
    )


def told_outcome(known: KnownTrial) -> tuple[TrialState, list[float] | None]:
    """Return a trial's state and values: where it was pruned, the value of its last report.

    A complete trial that has no number for an objective counts as failed.
    """
    state, scores = _STATES[known.outcome], [known.score, *known.others]
    values = [score for score in scores if score is not None]
    if state == TrialState.COMPLETE:
        is_whole = len(values) == len(scores)
        return (state, values) if is_whole else (TrialState.FAIL, None)
    if state == TrialState.PRUNED and known.values and not known.others:
        return state, [known.values[max(known.values)]]
    return state, None


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Return whether a value is one that the distribution can give."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def build_distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions, by dotted name."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    match parameter:
        case FloatParameter(low=low, high=high, step=None):
            return FloatDistribution(low, high, log=parameter.log)
        case FloatParameter(low=low, high=high, step=float(step)):
            return FloatDistribution(low, _highest_reached(low, high, step), step=step)
        case IntParameter(low=low, high=high):
            step = parameter.step or 1
            return IntDistribution(low, high - (high - low) % step, log=parameter.log, step=step)
        case CategoricalParameter(choices=choices):
            return CategoricalDistribution(choices)
    raise AssertionError(f"unknown parameter {parameter!r}")


def _highest_reached(low: float, high: float, step: float) -> float:
    """Return the last value at or below high that steps from low reach.

    >>> _highest_reached(0.1, 1.0, 0.2)
    0.9
    """
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)
