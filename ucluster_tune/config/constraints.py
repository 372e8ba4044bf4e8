"""Which points of a search space a study's constraints allow."""

from collections.abc import Mapping
from typing import Any, Final

from ucluster_tune.config.expressions import Condition
from ucluster_tune.config.points import N_WORKERS, SearchSpace, formula_fault, published_point
from ucluster_tune.config.search_space import Value, published_values
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.wording import show

N_DRAWN: Final = 2000
_FEW: Final = 0.01  # of the points drawn: a sampler hardly finds them


def are_met(study: StudyConfig, point: Mapping[str, Value]) -> bool:
    """Return whether a point of the search space fulfils all constraints."""
    return SearchSpace(study).allows(point)


def broken_by(study: StudyConfig, point: Mapping[str, Value]) -> str | None:
    """Return the first constraint that a point breaks, with its place in the file, or None."""
    space = SearchSpace(study)
    return space.broken(space.completed(point)[1])


def share_met(study: StudyConfig) -> float:
    """Return the share of the search space in which all constraints hold, by drawn points."""
    if not study.constraints:
        return 1.0
    space = SearchSpace(study)
    return sum(space.broken(values) is None for _, values in space.drawn(N_DRAWN)) / N_DRAWN


def constraint_text_faults(raw: Any, own_names: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the constraints of a file, taken alone.

    Args:
        raw: the constraints.
        own_names: that a constraint may name beside paths.
    """
    if not isinstance(raw, list):
        return [f"constraints: must be a list of conditions, got {show(raw)}"]
    known = {**own_names, **published_values(), N_WORKERS: 1}
    found = []
    for place, text in enumerate(raw):
        where = f"constraints[{place}]"
        if not isinstance(text, str):
            found.append(f"{where}: must be a condition, got {show(text)}")
        elif (fault := formula_fault(Condition, text, known)) is not None:
            found.append(f"{where}: {fault}")
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
        point, values = SearchSpace(study).completed(given)
        broken = SearchSpace(study).broken(values)
        if broken and set(given) >= set(point):
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
