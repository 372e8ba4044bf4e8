"""Samplers whose points are known in advance: what a trial gets depends on no result."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from ucluster_tune.config.search_space import Value
from ucluster_tune.config.study import Parameter
from ucluster_tune.tracking.dashboards.optuna_trials import OF_ANOTHER_STUDY, build_distributions


class PlannedSampler(BaseSampler):
    """Gives one suggestion, a point of its plan.

    Args:
        search_space: the ranges by dotted path.
    """

    def __init__(self, search_space: Mapping[str, Parameter]) -> None:
        self._search_space = search_space

    @abstractmethod
    def point(self, tried: list[Mapping[str, Any]]) -> Mapping[str, Value]:
        """Return the next point, given those that the study has tried."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return build_distributions(self._search_space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point."""
        tried = [
            other.params
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and OF_ANOTHER_STUDY not in other.user_attrs
        ]
        return dict(self.point(tried))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return a random value: what lies in no plan, as of a range that was changed."""
        return RandomSampler(seed=trial.number).sample_independent(
            study, trial, param_name, param_distribution
        )
