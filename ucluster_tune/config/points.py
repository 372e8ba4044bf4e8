"""From a point of a search space to a trial: what it holds, and what follows from it.

A point maps the names of hyperparameters to values. One with a condition is part of it where that
holds; elsewhere the trial has its published value. Knows nothing of Optuna.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from pydantic import ValidationError

from ucluster_tune.config.expressions import Condition, Formula
from ucluster_tune.config.search_space import (
    SET_ALONE,
    TUNABLE_SECTIONS,
    Value,
    as_field,
    as_hyperparameter,
    corners,
    fit,
    prior_center,
    published_values,
    unknown_path_fault,
    value_at,
    value_fault,
)
from ucluster_tune.config.study import Parameter, StudyConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.config.wording import show
from ucluster_tune.errors import ConfigurationError

Point = dict[str, Value]
N_WORKERS: Final = "n_workers"  # of a trial, in formulas
_N_DRAWN: Final = 200
_NOT_DERIVED: Final = ("training.n_epochs", "model.n_neighbors")  # a plan asks for their bounds

_condition, _formula = lru_cache(256)(Condition), lru_cache(256)(Formula)


class SearchSpace:
    """A study's search space, with what depends on the point: conditions, derived values.

    Args:
        study: whose conditions and formulas are sound, see `dependency_faults`.
        given: values that the trial has, whether they are searched or not.
    """

    def __init__(self, study: StudyConfig, given: Mapping[str, Value] | None = None) -> None:
        self.ranges, self._given = study.search_space, dict(given or {})
        self._derived = {path: _formula(text) for path, text in study.derived.items()}
        self._whens = {
            path: _condition(range_.when) for path, range_ in self.ranges.items() if range_.when
        }
        self._always = [path for path in self.ranges if path not in self._whens]
        self._order = _order({**self._whens, **self._derived})
        self._constraints = [_condition(text) for text in study.constraints]
        self._fixed = {path: _fixed(study, path) for path in published_values()}
        self._fixed |= {N_WORKERS: study.resources.n_workers, **self._given}

    def draw(self, take: Callable[[str], Value]) -> tuple[Point, dict[str, Any]]:
        """Return a point, and all values that a formula may name.

        Args:
            take: gives the value of a hyperparameter that is part of the point. One on which the
                condition of another one depends is asked for before it.
        """
        point: Point = {}
        values: dict[str, Any] = dict(self._fixed)
        for path in self._always:
            point[path] = values[path] = take(path)
        for path in self._order:
            if path in self._derived:
                values[path] = _as_whole(self._derived[path].value(values), path)
            elif self._whens[path].holds(values):
                point[path] = values[path] = take(path)
        return point, values

    def default(self, path: str) -> Value:
        """Return the published value, fitted into the range.

        Of a name of one's own, the center of its prior, else the middle.
        """
        range_ = self.ranges[path]
        published = published_values().get(path, prior_center(path, range_))
        return value_at(range_, 0.5) if published is None else fit(published, range_)

    def completed(self, point: Mapping[str, Value]) -> tuple[Point, dict[str, Any]]:
        """Return a point without what is no part of it, with defaults for what it lacks."""
        return self.draw(lambda path: point[path] if path in point else self.default(path))

    def drawn(self, n_points: int) -> Iterator[tuple[Point, dict[str, Any]]]:
        """Yield points drawn evenly, always the same ones, with all values."""
        draw = random.Random(1)
        for _ in range(n_points):
            yield self.draw(lambda path: value_at(self.ranges[path], draw.random()))

    def broken(self, values: Mapping[str, Any]) -> str | None:
        """Return the first constraint that does not hold, with its place in the file, or None."""
        for place, condition in enumerate(self._constraints):
            if not condition.holds(values):
                return f"constraints[{place}], {condition.text}"
        return None

    def allows(self, point: Mapping[str, Value]) -> bool:
        """Return whether a point fulfils all constraints."""
        return not self._constraints or self.broken(self.completed(point)[1]) is None


def published_point(study: StudyConfig) -> Point:
    """Return the published recipe, fitted into the space: clipped, stepped, nearest choice."""
    return SearchSpace(study).completed({})[0]


def derived_values(study: StudyConfig, hyperparameters: Mapping[str, Value]) -> Point:
    """Return what a trial's hyperparameters come to, by the study's formulas."""
    if not study.derived:
        return {}
    values = SearchSpace(study, hyperparameters).completed(hyperparameters)[1]
    return {path: values[path] for path in study.derived}


def least_and_most(study: StudyConfig, path: str) -> tuple[int, int]:
    """Return the ends of what a whole number may be; of a derived one, at drawn points."""
    range_ = study.search_space.get(path)
    possible: list[Any] = [*corners(range_)] if range_ else [_fixed(study, path)]
    if range_ and range_.when:
        possible.append(published_values()[path])
    if path in study.derived:
        drawn = [values[path] for _, values in SearchSpace(study).drawn(_N_DRAWN)]
        possible = [value for value in drawn if isinstance(value, int)] or possible
    return int(min(possible)), int(max(possible))


def trial_config(study: StudyConfig, hyperparameters: Mapping[str, Any]) -> TrialConfig:
    """Return the full, validated configuration of one trial.

    Args:
        study: gives all values that the hyperparameters do not.
        hyperparameters: dotted paths, and names of formulas, with values. A searched path that
            is not among them takes the published value, fitted into its range where no condition
            takes it out.

    Raises ConfigurationError naming each hyperparameter that is unknown or not allowed.
    """
    faults = []
    sections = {name: dict(getattr(study, name)) for name in TUNABLE_SECTIONS}
    point, values = SearchSpace(study, hyperparameters).completed(hyperparameters)
    for path in {**point, **study.derived, **hyperparameters}:
        if is_own_name(path) and path in study.search_space:
            continue
        unknown = None if path in SET_ALONE else unknown_path_fault(path)
        fault = unknown or value_fault(path, values[path])
        if values[path] is None:
            fault = "cannot be computed"
        if fault:
            faults.append(f"{path}: {fault}")
            continue
        name, _, key = path.partition(".")
        sections[name][key] = as_field(path, values[path])
    if not faults:
        try:
            return TrialConfig.model_validate({"data": study.data, **sections})
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            ]
    given = ", ".join(f"{path}={show(value)}" for path, value in hyperparameters.items())
    raise ConfigurationError(f"hyperparameters {given}", faults)


def is_own_name(name: str) -> bool:
    """Return whether a searched name can be one that formulas alone use."""
    return name.isidentifier() and name not in (N_WORKERS, *TUNABLE_SECTIONS)


def names_in(derived: Mapping[str, str]) -> frozenset[str]:
    """Return all names that derived values depend on; those of formulas that are none left out."""
    found: set[str] = set()
    for text in derived.values():
        try:
            found |= _formula(text).paths
        except ValueError:
            continue
    return frozenset(found)


def dependency_faults(ranges: Mapping[str, Parameter], derived: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the conditions of ranges, and with derived values."""
    found, formulas = [], {}
    known = {**dict.fromkeys(ranges), **published_values(), N_WORKERS: 1}
    for path, range_ in ranges.items():
        if range_.when and is_own_name(path):
            found.append(
                f"search_space.{path}.when: {path} has no value where its condition does not hold;"
                " put the condition on a dotted path"
            )
    whens = {path: range_.when for path, range_ in ranges.items() if range_.when}
    for where, kind, texts in (
        ("search_space.{}.when", _condition, whens),
        ("derived.{}", _formula, derived),
    ):
        for path, text in texts.items():
            fault = formula_fault(kind, text, known)
            if fault is not None:
                found.append(f"{where.format(path)}: {fault}")
            else:
                formulas[path] = kind(text)
    for path in derived:
        fault = "is derived and searched; leave one out" if path in ranges else None
        if path in _NOT_DERIVED:
            fault = "cannot be derived: a plan asks for its bounds; fix it or search it"
        fault = unknown_path_fault(path) or fault
        if fault:
            found.append(f"derived.{path}: {fault}")
    try:
        _order(formulas)
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        path = error.args[1][0]
        where = f"search_space.{path}.when" if path in whens else f"derived.{path}"
        found.append(f"{where}: depends on itself: {cycle}; take one of them out")
    return found


def formula_fault(
    kind: Callable[[str], Formula], text: object, known: Mapping[str, Any]
) -> str | None:
    """Return what is wrong with a formula or condition, taken alone, or None."""
    if not isinstance(text, str):
        return f"must be text such as '{Formula.example}', got {show(text)}"
    try:
        fault = kind(text).unknown_path_fault(known)
    except ValueError as error:
        fault = str(error)
    return None if fault is None else f"{show(text)}: {fault}"


def drawn_point_faults(study: StudyConfig) -> list[str]:
    """Return what makes drawn points no trials where values are derived: the first such point."""
    if not study.derived:
        return []
    space = SearchSpace(study)
    for point, values in (space.completed({}), *space.drawn(_N_DRAWN)):
        if space.broken(values) is not None:
            continue
        try:
            trial_config(study, point)
        except ConfigurationError as error:
            shown = ", ".join(f"{path}={show(value)}" for path, value in point.items())
            at = f" at {shown}" if shown else ""
            return [f"derived: {fault}{at}" for fault in error.faults]
    return []


def condition_warnings(study: StudyConfig) -> list[str]:
    """Return the hyperparameters whose condition no drawn point fulfils."""
    drawn = [point for point, _ in SearchSpace(study).drawn(_N_DRAWN)]
    return [
        f"search_space.{path}.when: held at none of {_N_DRAWN} points drawn, so that the"
        " hyperparameter is not searched"
        for path, range_ in study.search_space.items()
        if range_.when and not any(path in point for point in drawn)
    ]


def _order(formulas: Mapping[str, Formula]) -> list[str]:
    """Return names so that each comes after those on which it depends; CycleError with a cycle."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for path, formula in formulas.items():
        sorter.add(path, *sorted(formula.paths & formulas.keys()))
    return list(sorter.static_order())


def _fixed(study: StudyConfig, path: str) -> Value:
    section, _, key = path.partition(".")
    return as_hyperparameter(getattr(getattr(study, section), key))


def _as_whole(value: Any, path: str) -> Any:
    """Return 4.0 as 4 where a whole number is wanted, as a quotient or a root gives it."""
    is_wanted = type(published_values()[path]) is int
    return int(value) if is_wanted and isinstance(value, float) and value.is_integer() else value
