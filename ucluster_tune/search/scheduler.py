"""Which running trials Tune stops early.

ASHA judges a trial when it reaches a rung (grace_period * reduction_factor^k epochs) by its
objective at that epoch. Tune marks a trial that ASHA stopped as `done`, as it does one that came
to its end: only the number of its last epoch tells them apart. The last epoch is never judged,
since a trainable that reports `done` there ends before the scheduler is asked.
"""

from typing import Literal

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ucluster_tune.config.search_space import corners
from ucluster_tune.config.study import ObjectiveConfig, StudyConfig


def build_scheduler(study: StudyConfig) -> TrialScheduler:
    """Returns Tune's scheduler for the study."""
    if study.scheduler.name == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]  # Ray's, partly typed
    n_epochs = longest_training(study)
    return ASHAScheduler(
        time_attr="epoch",  # Tune's own count starts again when a trial does
        metric=study.objective.metric,
        mode=tune_mode(study.objective),
        max_t=n_epochs,
        # A grace period beyond the end stops no trial, which is what one at the end does too.
        grace_period=min(study.scheduler.grace_period, n_epochs),
        reduction_factor=study.scheduler.reduction_factor,
        # With True, ASHA also judges a trial by the lower rungs that it does not know it from.
        stop_last_trials=False,
    )


def tune_mode(objective: ObjectiveConfig) -> Literal["max", "min"]:
    """Returns Tune's word for the direction."""
    return "max" if objective.direction == "maximize" else "min"


def longest_training(study: StudyConfig) -> int:
    """Returns the most epochs that a trial of the study can have."""
    searched = study.search_space.get("training.n_epochs")
    if searched is None:
        return study.training.n_epochs
    return int(max(corners(searched)))
