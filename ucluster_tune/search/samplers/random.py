"""Hyperparameters drawn evenly from the search space, whatever was learnt."""

from optuna.samplers import BaseSampler, RandomSampler

from ucluster_tune.config.study import StudyConfig


def random_sampler(study: StudyConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del study
    return RandomSampler(seed=seed)
