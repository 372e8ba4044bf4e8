"""What `auto` means for a study, and why; the grid of a finite search space."""

from itertools import product
from math import prod
from typing import Final, NamedTuple

from ucluster_tune.config.points import Point, SearchSpace
from ucluster_tune.config.search_space import all_values, n_values
from ucluster_tune.config.study import StudyConfig

_LEARNING: Final = 2  # times its random trials: below, TPE has hardly learnt
_LARGEST_GRID: Final = 100_000


class Choice(NamedTuple):
    """A name that stands for `auto`, and the reason in words."""

    name: str
    reason: str


def n_points(study: StudyConfig) -> int | None:
    """Return how many points the ranges of a search space make, None for a continuous one.

    Where conditions take hyperparameters out of some, there are fewer.
    """
    counts = [n_values(parameter) for parameter in study.search_space.values()]
    return None if None in counts else prod(count for count in counts if count)


def grid(study: StudyConfig) -> list[Point]:
    """Return all points of a finite search space that fulfil its constraints, each once."""
    ranges, space = study.search_space, SearchSpace(study)
    found: dict[tuple[object, ...], Point] = {}
    for chosen in product(*map(all_values, ranges.values())):
        point, values = space.completed(dict(zip(ranges, chosen, strict=True)))
        if space.broken(values) is None:
            found[tuple((path, point.get(path)) for path in ranges)] = point
    return list(found.values())


def grid_fault(study: StudyConfig) -> str | None:
    """Return why a study cannot have the sampler that it names, or None."""
    points = n_points(study)
    if study.sampler.name != "grid" or (points is not None and points <= _LARGEST_GRID):
        return None
    if points is None:
        continuous = [
            path for path, range_ in study.search_space.items() if n_values(range_) is None
        ]
        return f"sampler.name: grid needs a step or choices for {', '.join(continuous)}"
    return (
        f"sampler.name: a grid of {points} points is too large, at most {_LARGEST_GRID}; use qmc"
    )


def scheduler_faults(study: StudyConfig) -> list[str]:
    """Return why a study cannot have the scheduler that it names."""
    if study.scheduler.name != "pbt":
        return []
    found = [
        f"search_space.{path}.when: must be left out with scheduler.name pbt, which has trials go"
        " on with each other's hyperparameters"
        for path, range_ in study.search_space.items()
        if range_.when
    ]
    if "training.n_epochs" in study.search_space:
        found.append(
            "search_space.training.n_epochs: must be fixed with scheduler.name pbt, whose trials"
            " go on from each other's checkpoints"
        )
    if study.objective.seeds_per_trial > 1:
        found.append(
            "objective.seeds_per_trial: must be 1 with scheduler.name pbt, whose trials go on from"
            f" each other's checkpoints, got {study.objective.seeds_per_trial}; type"
            " `ucluster-tune confirm` after the search"
        )
    return found


def chosen_sampler(study: StudyConfig, n_taught: int = 0) -> Choice:
    """Return the sampler of a study by its search space and its budget.

    Args:
        study: the configuration.
        n_taught: trials of another study that it learns from.
    """
    name, n_trials = study.sampler.name, study.budget.n_trials
    if name != "auto":
        return Choice(name, "as the file says")
    if not study.search_space:
        return Choice("random", "nothing is searched")
    if study.scheduler.name == "pbt":
        return Choice("random", "pbt moves the points while their trials run")
    points = n_points(study)
    if points is not None and points <= min(n_trials or _LARGEST_GRID, _LARGEST_GRID):
        return Choice("grid", "the budget is enough for every point")
    enough = _LEARNING * study.sampler.n_startup_trials
    if n_trials is not None and n_trials < enough and not n_taught:
        return Choice("qmc", f"{n_trials} trials, too few to learn from, are spread evenly")
    return Choice("tpe", "learns from trials where good ones lie")


def most_trials(study: StudyConfig) -> int | None:
    """Return how many trials a study can have: its budget, or all points of its grid."""
    n_trials = study.budget.n_trials
    if chosen_sampler(study).name != "grid":
        return n_trials
    points = len(grid(study))
    return points if n_trials is None else min(points, n_trials)
