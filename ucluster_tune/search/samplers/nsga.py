"""Genetic algorithms for several objectives: NSGA-II (doi:10.1109/4235.996017) and NSGA-III.

Each generation descends from the best of those before it. Parents are chosen anew from the record
for each suggestion, with the study's seed, so that a search that was stopped goes on as it would
have: Optuna would keep them beside its trials.
"""

import warnings
from typing import Final

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers._nsgaiii._elite_population_selection_strategy import (
    NSGAIIIElitePopulationSelectionStrategy,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from ucluster_tune.config.study import StudyConfig

_GENERATIONS: Final = 5  # at least, of a budget
_SMALLEST, _LARGEST = 4, 50


class _Nsga2(NSGAIISampler):
    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return self.select_parent(study, generation) if generation else []


class _Nsga3(NSGAIIISampler):
    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return self.select_parent(study, generation) if generation else []


def population_of(study: StudyConfig) -> int:
    """Return the trials of a generation: at least five of these in a budget, 4 to 50 trials each.

    >>> from ucluster_tune.config.budget import BudgetConfig
    >>> data = {"path": "/jets"}
    >>> population_of(StudyConfig(data=data, budget=BudgetConfig(n_trials=60)))
    12
    """
    n_trials = study.budget.n_trials or _GENERATIONS * _LARGEST
    return min(max(_SMALLEST, n_trials // _GENERATIONS), _LARGEST)


def nsga2_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    return _Nsga2(population_size=population_of(study), seed=seed)


def nsga3_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    size = population_of(study)
    selection = NSGAIIIElitePopulationSelectionStrategy(
        population_size=size, rng=LazyRandomState(study.sampler.seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of the selection
        return _Nsga3(
            population_size=size, seed=seed, elite_population_selection_strategy=selection
        )
