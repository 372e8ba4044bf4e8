"""How hyperparameters are suggested: a sampler a module, and the registry of them.

To add one, write a module with a function that builds Optuna's sampler, and name it here and in
`config.study.SamplerConfig`. What a sampler keeps with a trial is in the study's record, so that
one with a state goes on where it was: see `asking`.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers.grid import grid_sampler
from ucluster_tune.search.samplers.nsga import nsga2_sampler, nsga3_sampler
from ucluster_tune.search.samplers.qmc import quasi_monte_carlo_sampler
from ucluster_tune.search.samplers.random import random_sampler
from ucluster_tune.search.samplers.tpe import tpe_sampler

SAMPLERS: Final[dict[str, Callable[[StudyConfig, int], BaseSampler]]] = {
    "tpe": tpe_sampler,
    "random": random_sampler,
    "qmc": quasi_monte_carlo_sampler,
    "grid": grid_sampler,
    "nsga2": nsga2_sampler,
    "nsga3": nsga3_sampler,
}


def build_sampler(name: str, study: StudyConfig, number: int, attempt: int = 0) -> BaseSampler:
    """Return the sampler of one suggestion, seeded by the study's seed and the trial's number.

    Args:
        name: of the sampler.
        study: the configuration.
        number: of the trial, from 0.
        attempt: how often its suggestion broke a constraint before.
    """
    entropy = [study.sampler.seed, number, *([attempt] if attempt else [])]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    return SAMPLERS[name](study, seed)
