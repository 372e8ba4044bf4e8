"""Samplers whose points are known in advance: what a trial gets depends on no result."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from ucluster_tune.config.points import Point, SearchSpace
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.tracking.dashboards.optuna_trials import (
    OF_ANOTHER_STUDY,
    TRIAL,
    build_distributions,
)

_MOST_LOOKED_AT = 100_000  # points, for one that fulfils the constraints


class PlannedSampler(BaseSampler):
    """Gives one suggestion: the first point of its plan that is new and breaks no constraint.

    Args:
        study: its search space, constraints, and the seed of the plan.
    """

    def __init__(self, study: StudyConfig) -> None:
        self.study = study

    @abstractmethod
    def plan(self) -> Iterator[Point]:
        """Yield the points in their order."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return build_distributions(self.study.search_space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point."""
        tried = {
            tuple(other.params.get(path) for path in search_space)
            for other in study.get_trials(deepcopy=False)
            if TRIAL in other.user_attrs and OF_ANOTHER_STUDY not in other.user_attrs
        }
        space = SearchSpace(self.study)
        for planned in islice(self.plan(), _MOST_LOOKED_AT):
            point, values = space.completed(planned)
            is_new = tuple(point.get(path) for path in search_space) not in tried
            if is_new and space.broken(values) is None:
                return dict(point)
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return a random value, where the plan has no point left."""
        return RandomSampler(seed=trial.number).sample_independent(
            study, trial, param_name, param_distribution
        )
