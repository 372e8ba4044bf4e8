"""What may be searched, whether a range fits its field, and which values it holds.

A list, as of widths, is one value: its text, such as `[64, 128]`.
"""

import json
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
)
from ucluster_tune.config.trial import LossConfig, ModelConfig, TrainingConfig
from ucluster_tune.config.wording import section_faults, show

Value = bool | int | float | str

TUNABLE_SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "loss": LossConfig,
    "training": TrainingConfig,
}
_NOT_TUNABLE = {
    "training.seed": "a better seed is luck, not a better model",
    "training.n_jets": "more jets are better",
    "model.head": "with labels a network classifies, it does not cluster",
}
SET_ALONE = frozenset({"training.n_jets", "model.head"})
"""What a training may be given beside its hyperparameters though it is never searched."""


@cache
def published_values() -> Mapping[str, Value]:
    """Return each tunable dotted path with its published value."""
    return {
        f"{name}.{key}": as_hyperparameter(field.default)
        for name, section in TUNABLE_SECTIONS.items()
        for key, field in section.model_fields.items()
        if f"{name}.{key}" not in _NOT_TUNABLE
    }


def as_hyperparameter(value: Any) -> Value:
    """Return a field's value as a hyperparameter: a list becomes its text.

    >>> as_hyperparameter((64, 128))
    '[64, 128]'
    """
    known: Value = json.dumps(value) if isinstance(value, tuple | list) else value
    return known


def as_field(path: str, value: object) -> object:
    """Return a hyperparameter as the field at its path takes it: a list's text becomes a list."""
    name, _, key = path.partition(".")
    is_list = get_origin(TUNABLE_SECTIONS[name].model_fields[key].annotation) is tuple
    if not is_list or not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
        return parsed
    except (ValueError, RecursionError):
        return value


def unknown_path_fault(path: str) -> str | None:
    """Return what is wrong with a path that is to be searched, or None."""
    if path in published_values():
        return None
    if path in _NOT_TUNABLE:
        return f"cannot be searched: {_NOT_TUNABLE[path]}"
    if path in TUNABLE_SECTIONS:
        example = next(legal for legal in published_values() if legal.startswith(f"{path}."))
        return f"names a whole section; write the dotted path of one value, such as {example}"
    key = path.rpartition(".")[2]
    by_key = {legal.rpartition(".")[2]: legal for legal in published_values()}
    if key in by_key:
        return f"unknown value; did you mean {by_key[key]}?"
    return f"unknown value; {did_you_mean(path, published_values())}"


def value_fault(path: str, value: object) -> str | None:
    """Return what is wrong with a value for a tunable path, taken alone, or None."""
    name, _, key = path.partition(".")
    section = TUNABLE_SECTIONS[name]
    try:
        section.model_validate({key: as_field(path, value)})
    except ValidationError as error:
        found = section_faults(section, error, name).get(key)
        if not found:
            return None
        where, _, fault = found[0].partition(": ")
        item = where.removeprefix(path)  # such as [1] of a list
        return f"{fault} in item {item}" if item else fault
    return None


def range_faults(path: str, parameter: Parameter) -> list[str]:
    """Return a fault for each end or choice of a range that its field does not allow."""
    where = f"search_space.{path}"
    if isinstance(parameter, FloatParameter) and type(published_values()[path]) is int:
        return [f"{where}.type: must be int, {path} takes whole numbers only, got float"]
    is_text = isinstance(published_values()[path], str)
    if is_text and not isinstance(parameter, CategoricalParameter):
        published = published_values()[path]
        return [f"{where}.type: must be categorical, with choices such as {published}"]
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


def share_below(parameter: Parameter, value: Value) -> float:
    """Return the share of a range that lies below a value of it, the opposite of `value_at`.

    >>> share_below(FloatParameter(type="float", low=1.0, high=100.0, log=True), 10.0)
    0.5
    >>> share_below(CategoricalParameter(type="categorical", choices=("a", "b")), "b")
    0.75
    """
    is_continuous = isinstance(parameter, FloatParameter) and parameter.step is None
    if isinstance(parameter, CategoricalParameter) or not (is_continuous or parameter.log):
        values = all_values(parameter)
        return (values.index(value) + 0.5) / len(values)
    margin = 0.5 if isinstance(parameter, IntParameter) else 0.0
    low, high, own = parameter.low - margin, parameter.high + margin, float(value)
    if parameter.log:
        low, high, own = math.log(low), math.log(high), math.log(own)
    return (own - low) / (high - low) if high > low else 0.5


def prior_center(path: str, parameter: Parameter) -> Value | None:
    """Return what a range's prior lies around: by default the published value, if there is one."""
    center = parameter.prior.center if parameter.prior else None
    return published_values().get(path) if center is None else center


def prior_fault(path: str, parameter: Parameter) -> str | None:
    """Return what is wrong with a range's prior, or None."""
    if parameter.prior is None:
        return None
    where, center = f"search_space.{path}.prior.center", prior_center(path, parameter)
    if center is None:
        return f"{where}: required, since nothing is published for {path}"
    fault = outside_fault(center, parameter)
    if fault is None:
        return None
    told = "" if parameter.prior.center is not None else "not given, and the published value "
    return f"{where}: {told}{fault}"


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
