"""Hyperparameters drawn evenly from the search space, whatever was learnt."""

from optuna.samplers import BaseSampler, RandomSampler

from ucluster_tune.config.study import SamplerConfig


def random_sampler(config: SamplerConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    del config
    return RandomSampler(seed=seed)
