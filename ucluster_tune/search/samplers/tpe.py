"""The tree-structured Parzen estimator: learns from the trials so far where good ones lie.

Optuna's, of all hyperparameters together, with trials that still run taken for bad ones, so that
those side by side differ (arXiv:2304.11127). Where hyperparameters have conditions, those that
trials have in common are modelled together, group by group. With several objectives each one is
modelled alone, as Optuna has it (MOTPE, doi:10.1613/jair.1.13188).
"""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler

from ucluster_tune.config.study import StudyConfig


def tpe_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    is_conditional = any(range_.when for range_ in study.search_space.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of groups
        return TPESampler(
            seed=seed,
            n_startup_trials=study.sampler.n_startup_trials,
            multivariate=is_conditional or not study.objective.others,
            group=is_conditional,
        )
