"""One trial's configuration as a study of its own: what `train` reads and what a study leaves.

A study that searches nothing has one configuration to train. A trial's `config.yaml` and a
study's `best.yaml` are written in that form, so that they can be trained again.
"""

from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.notify import NotifyConfig
from ucluster_tune.config.points import trial_config
from ucluster_tune.config.study import (
    SamplerConfig,
    SchedulerConfig,
    StudyConfig,
    TrackingConfig,
)
from ucluster_tune.config.trial import TrialConfig


def trial_config_of(study: StudyConfig) -> TrialConfig:
    """Return the one configuration of a study that searches nothing."""
    return trial_config(study, {})


def study_of_one(study: StudyConfig, config: TrialConfig) -> StudyConfig:
    """Return the study that searches nothing and trains `config` as a trial of `study` does.

    Resources, objective and failures stay those of `study`; where its trackers are, and with
    them a password, does not.
    """
    return study.model_copy(
        update={
            **dict(config),
            "name": None,
            "search_space": {},
            "derived": {},
            "constraints": (),
            "sampler": SamplerConfig(),
            "scheduler": SchedulerConfig(name="none"),
            "budget": BudgetConfig(),
            "tracking": TrackingConfig(),
            "notify": NotifyConfig(),
        }
    )
