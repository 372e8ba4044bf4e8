"""Which points of a search space a study's constraints allow."""

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ucluster_tune.config.expressions import Condition
from ucluster_tune.config.search_space import (
    TUNABLE_SECTIONS,
    Value,
    published_point,
    published_values,
    value_at,
)
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.wording import show

N_DRAWN: Final = 2000
_FEW: Final = 0.01  # of the points drawn: a sampler hardly finds them

_condition = lru_cache(256)(Condition)


def are_met(study: StudyConfig, point: Mapping[str, Value]) -> bool:
    """Return whether a point of the search space fulfils all constraints."""
    return broken_by(study, point) is None


def broken_by(study: StudyConfig, point: Mapping[str, Value]) -> str | None:
    """Return the first constraint that a point breaks, with its place in the file, or None."""
    if not study.constraints:
        return None
    values = {path: _fixed(study, path) for path in published_values()} | dict(point)
    for place, text in enumerate(study.constraints):
        if not _condition(text).holds(values):
            return f"constraints[{place}], {text}"
    return None


def share_met(study: StudyConfig) -> float:
    """Return the share of the search space in which all constraints hold, by drawn points."""
    if not study.constraints:
        return 1.0
    draw = random.Random(1)
    points = (
        {path: value_at(range_, draw.random()) for path, range_ in study.search_space.items()}
        for _ in range(N_DRAWN)
    )
    return sum(are_met(study, point) for point in points) / N_DRAWN


def constraint_text_faults(raw: Any) -> list[str]:
    """Return what is wrong with the constraints of a file, taken alone."""
    if not isinstance(raw, list):
        return [f"constraints: must be a list of conditions, got {show(raw)}"]
    found = []
    for place, text in enumerate(raw):
        where = f"constraints[{place}]"
        if not isinstance(text, str):
            found.append(f"{where}: must be a condition, got {show(text)}")
            continue
        try:
            fault = Condition(text).unknown_path_fault(published_values())
        except ValueError as error:
            fault = str(error)
        if fault is not None:
            found.append(f"{where}: {show(text)}: {fault}")
    return found


def constraint_faults(study: StudyConfig) -> list[str]:
    """Return what is wrong with constraints, and points to try first, in their search space."""
    found = []
    if share_met(study) == 0:
        found.append(
            f"constraints: none of {N_DRAWN} points drawn from search_space fulfils them all;"
            " widen the ranges or loosen a constraint"
        )
    for place, given in enumerate(study.sampler.try_first):
        broken = broken_by(study, published_point(study) | given)
        if broken and set(given) == set(study.search_space):
            found.append(f"sampler.try_first[{place}]: breaks {broken}")
    return found


def constraint_warnings(study: StudyConfig) -> list[str]:
    """Return what a study's constraints allow but its user hardly wants."""
    found = []
    share = share_met(study)
    if 0 < share < _FEW:
        found.append(
            f"constraints: only {share:.2%} of the search space fulfils them; narrow the ranges,"
            " so that the sampler need not search for it"
        )
    broken = broken_by(study, published_point(study))
    if study.sampler.published_first and broken:
        found.append(f"sampler.published_first: the published recipe breaks {broken}; left out")
    return found


def _fixed(study: StudyConfig, path: str) -> Any:
    section, _, key = path.partition(".")
    assert section in TUNABLE_SECTIONS
    return getattr(getattr(study, section), key)
