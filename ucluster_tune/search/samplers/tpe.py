"""The tree-structured Parzen estimator: learns from the trials so far where good ones lie."""

from optuna.samplers import BaseSampler, TPESampler

from ucluster_tune.config.study import SamplerConfig


def tpe_sampler(config: SamplerConfig, seed: int) -> BaseSampler:
    """Return the sampler of one suggestion."""
    return TPESampler(seed=seed, n_startup_trials=config.n_startup_trials)
