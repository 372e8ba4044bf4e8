"""What may be searched, whether a range fits its field, and from a suggestion to a trial.

Knows nothing of Optuna: a suggestion is a mapping of dotted paths to values.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, get_origin

from pydantic import ValidationError

from ucluster_tune.config.names import did_you_mean
from ucluster_tune.config.section import Section
from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    StudyConfig,
)
from ucluster_tune.config.trial import LossConfig, ModelConfig, TrainingConfig, TrialConfig
from ucluster_tune.config.wording import section_faults, show
from ucluster_tune.errors import ConfigurationError

Value = bool | int | float | str

TUNABLE_SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "loss": LossConfig,
    "training": TrainingConfig,
}
_NOT_TUNABLE = {"training.seed": "a better seed is luck, not a better model"}


@cache
def published_values() -> Mapping[str, Value]:
    """Return each tunable dotted path with its published value."""
    return {
        f"{name}.{key}": field.default
        for name, section in TUNABLE_SECTIONS.items()
        for key, field in section.model_fields.items()
        if get_origin(field.annotation) is not tuple and f"{name}.{key}" not in _NOT_TUNABLE
    }


def unknown_path_fault(path: str) -> str | None:
    """Return what is wrong with a path that is to be searched, or None."""
    if path in published_values():
        return None
    if path in _NOT_TUNABLE:
        return f"cannot be searched: {_NOT_TUNABLE[path]}"
    if path in TUNABLE_SECTIONS:
        example = next(legal for legal in published_values() if legal.startswith(f"{path}."))
        return f"names a whole section; write the dotted path of one value, such as {example}"
    section, _, key = path.rpartition(".")
    if section in TUNABLE_SECTIONS and key in TUNABLE_SECTIONS[section].model_fields:
        return "cannot be searched: it is a list, not a single value"
    by_key = {legal.rpartition(".")[2]: legal for legal in published_values()}
    if key in by_key:
        return f"unknown value; did you mean {by_key[key]}?"
    return f"unknown value; {did_you_mean(path, published_values())}"


def value_fault(path: str, value: object) -> str | None:
    """Return what is wrong with a value for a tunable path, taken alone, or None."""
    name, _, key = path.partition(".")
    section = TUNABLE_SECTIONS[name]
    try:
        section.model_validate({key: value})
    except ValidationError as error:
        found = section_faults(section, error, name).get(key)
        return found[0].partition(": ")[2] if found else None
    return None


def range_faults(path: str, parameter: Parameter) -> list[str]:
    """Return a fault for each end or choice of a range that its field does not allow."""
    where = f"search_space.{path}"
    if isinstance(parameter, FloatParameter) and type(published_values()[path]) is int:
        return [f"{where}.type: must be int, {path} takes whole numbers only, got float"]
    if isinstance(parameter, CategoricalParameter):
        named = {f"choices[{i}]": choice for i, choice in enumerate(parameter.choices)}
    else:
        named = {"low": parameter.low, "high": parameter.high}
    found = ((key, value_fault(path, value)) for key, value in named.items())
    return [f"{where}.{key}: {path} {fault}" for key, fault in found if fault]


def corners(parameter: Parameter) -> tuple[Value, ...]:
    """Return the extreme values of a range; all choices where they have no order.

    >>> corners(IntParameter(type="int", low=2, high=6))
    (2, 6)
    """
    if not isinstance(parameter, CategoricalParameter):
        return (parameter.low, parameter.high)
    numbers = [choice for choice in parameter.choices if _is_number(choice)]
    if len(numbers) == len(parameter.choices):
        return (min(numbers), max(numbers))
    return parameter.choices


def least_and_most(study: StudyConfig, path: str) -> tuple[int, int]:
    """Return the ends of a whole number's range where it is searched, else the number twice."""
    searched = study.search_space.get(path)
    section, _, name = path.partition(".")
    possible = corners(searched) if searched else (getattr(getattr(study, section), name),)
    return int(min(possible)), int(max(possible))


def n_values(parameter: Parameter) -> int | None:
    """Return how many values a range holds, None for a continuous one."""
    if isinstance(parameter, CategoricalParameter):
        return len(parameter.choices)
    if isinstance(parameter, IntParameter):
        return (parameter.high - parameter.low) // (parameter.step or 1) + 1
    if parameter.low == parameter.high:
        return 1
    return None if parameter.step is None else _n_steps(parameter) + 1


def all_values(parameter: Parameter) -> tuple[Value, ...]:
    """Return every value of a finite range, the smallest first.

    >>> all_values(IntParameter(type="int", low=4, high=9, step=2))
    (4, 6, 8)
    """
    if isinstance(parameter, CategoricalParameter):
        return parameter.choices
    count, step = n_values(parameter), parameter.step or 1
    assert count is not None, "a continuous range has no list of values"
    return tuple(fit(parameter.low + place * step, parameter) for place in range(count))


def value_at(parameter: Parameter, share: float) -> Value:
    """Return the value below which a share of a range lies, in its own scale.

    Args:
        parameter: the range.
        share: in [0, 1).

    >>> value_at(FloatParameter(type="float", low=1.0, high=3.0), 0.5)
    2.0
    >>> value_at(IntParameter(type="int", low=4, high=12, step=4), 0.9)
    12
    """
    if isinstance(parameter, IntParameter) and parameter.log:
        low, high = math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
        return min(max(round(math.exp(low + share * (high - low))), parameter.low), parameter.high)
    if isinstance(parameter, FloatParameter) and parameter.step is None:
        low, high = parameter.low, parameter.high
        if parameter.log:
            return min(max(low * math.exp(share * math.log(high / low)), low), high)
        return low + share * (high - low)
    values = all_values(parameter)
    return values[int(share * len(values))]


def fit(value: Value, parameter: Parameter) -> Value:
    """Return the value of a range that is nearest to the one given.

    >>> fit(10, IntParameter(type="int", low=4, high=9, step=2))
    8
    >>> fit(0.5, CategoricalParameter(type="categorical", choices=(0.1, 0.4, 2.0)))
    0.4
    """
    if isinstance(parameter, CategoricalParameter):
        return _nearest_choice(value, parameter.choices)
    if not _is_number(value):
        raise TypeError(f"{value!r} has no place in a range of numbers")
    number = min(max(float(value), parameter.low), parameter.high)
    if isinstance(parameter, IntParameter):
        step = parameter.step or 1
        n_steps = min(round((number - parameter.low) / step), (n_values(parameter) or 1) - 1)
        return parameter.low + n_steps * step
    if parameter.step is None:
        return number
    n_steps = min(round((number - parameter.low) / parameter.step), _n_steps(parameter))
    return min(parameter.low + n_steps * parameter.step, parameter.high)


def outside_fault(value: object, parameter: Parameter) -> str | None:
    """Return what is wrong with a value that a range is to give, None where it has it.

    >>> outside_fault(7, IntParameter(type="int", low=4, high=9, step=2))
    'is no value of its range, whose nearest is 8, got 7'
    """
    if isinstance(parameter, CategoricalParameter):
        if any(value == choice and type(value) is type(choice) for choice in parameter.choices):
            return None
        return f"must be one of {', '.join(map(show, parameter.choices))}, got {show(value)}"
    if not _is_number(value):
        return f"must be a number, got {show(value)}"
    nearest_value = fit(value, parameter)  # type: ignore[arg-type]  # a number
    if nearest_value == value:
        return None
    return f"is no value of its range, whose nearest is {nearest_value}, got {value}"


def published_point(study: StudyConfig) -> dict[str, Value]:
    """Return the published recipe, fitted into the space: clipped, stepped, nearest choice."""
    return {path: fit(published_values()[path], p) for path, p in study.search_space.items()}


def trial_config(study: StudyConfig, hyperparameters: Mapping[str, Any]) -> TrialConfig:
    """Return the full, validated configuration of one trial.

    Args:
        study: gives all values that the hyperparameters do not.
        hyperparameters: dotted paths and values. A searched path that is not among them takes
            the published value, fitted into its range.

    Raises ConfigurationError naming each hyperparameter that is unknown or not allowed.
    """
    faults = []
    values = {name: dict(getattr(study, name)) for name in TUNABLE_SECTIONS}
    for path, value in {**published_point(study), **hyperparameters}.items():
        fault = unknown_path_fault(path) or value_fault(path, value)
        if fault:
            faults.append(f"{path}: {fault}")
            continue
        name, _, key = path.partition(".")
        values[name][key] = value
    if not faults:
        try:
            return TrialConfig.model_validate({"data": study.data, **values})
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            ]
    given = ", ".join(f"{path}={show(value)}" for path, value in hyperparameters.items())
    raise ConfigurationError(f"hyperparameters {given}", faults)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _n_steps(parameter: FloatParameter) -> int:
    # The quotient of two decimals is often just below a whole number: 0.3 / 0.1 = 2.999...
    return int((parameter.high - parameter.low) / (parameter.step or 1.0) + 1e-8)


def _nearest_choice(value: Value, choices: tuple[Value, ...]) -> Value:
    same = [
        choice for choice in choices if choice == value and _is_number(choice) == _is_number(value)
    ]
    numbers = [choice for choice in choices if _is_number(choice)]
    if same:
        return same[0]
    if _is_number(value) and numbers:
        return min(numbers, key=lambda choice: abs(float(choice) - float(value)))
    return choices[0]
