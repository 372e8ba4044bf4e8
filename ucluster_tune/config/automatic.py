"""What `auto` means for a study, and why."""

from math import prod
from typing import NamedTuple

from ucluster_tune.config.search_space import n_values
from ucluster_tune.config.study import StudyConfig

_LEARNING = 2  # times its random trials: below, TPE has hardly learnt


class Choice(NamedTuple):
    """A name that stands for `auto`, and the reason in words."""

    name: str
    reason: str


def n_points(study: StudyConfig) -> int | None:
    """Return how many points a search space has, None for a continuous one."""
    counts = [n_values(parameter) for parameter in study.search_space.values()]
    return None if None in counts else prod(count for count in counts if count)


def chosen_sampler(study: StudyConfig) -> Choice:
    """Return the sampler of a study by its search space and its budget."""
    name, n_trials = study.sampler.name, study.budget.n_trials
    if name != "auto":
        return Choice(name, "as the file says")
    points = n_points(study)
    if points is not None and (n_trials is None or points <= n_trials):
        return Choice("grid", f"the budget is enough for all {points} points")
    if n_trials is not None and n_trials < _LEARNING * study.sampler.n_startup_trials:
        return Choice("qmc", f"{n_trials} trials, too few to learn from, are spread evenly")
    return Choice("tpe", "learns from trials where good ones lie")
