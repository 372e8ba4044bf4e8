"""What a study will do, in numbers, before anything is started."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from ucluster_tune.config.search_space import corners, published_point
from ucluster_tune.config.study import CategoricalParameter, Parameter, StudyConfig
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.errors import MachineError


@dataclass(frozen=True)
class Machine:
    """What trials can share: processor cores and GPUs."""

    n_cpus: int
    n_gpus: int


@dataclass(frozen=True)
class Plan:
    """Trials, epochs and resources of a study.

    Attributes:
        epochs_at_most: all trials to their last epoch.
        epochs_at_least: every trial stopped as early as the scheduler may.
        rungs: the epochs at which ASHA compares trials.
        cpus_per_trial: cores of all workers of a trial.
        concurrent_trials: trials at a time on this machine; 0 where not even one fits.
    """

    n_trials: int
    epochs_per_trial: int
    epochs_at_most: int
    epochs_at_least: int
    rungs: tuple[int, ...]
    workers_per_trial: int
    cpus_per_trial: float
    gpus_per_trial: float
    concurrent_trials: int
    machine: Machine

    @property
    def fits(self) -> bool:
        """Whether this machine can run a trial."""
        return self.concurrent_trials > 0


def plan_study(study: StudyConfig, machine: Machine) -> Plan:
    """Returns the plan of a study on one machine."""
    least, most = _epochs(study)
    asha = study.scheduler.name == "asha"
    n_trials, resources = study.budget.n_trials, study.resources
    cpus = resources.workers_per_trial * resources.cpus_per_worker
    gpus = resources.workers_per_trial * resources.gpus_per_worker
    return Plan(
        n_trials=n_trials,
        epochs_per_trial=most,
        epochs_at_most=n_trials * most,
        epochs_at_least=n_trials * (min(study.scheduler.grace_period, least) if asha else least),
        rungs=rung_epochs(study.scheduler.grace_period, study.scheduler.reduction_factor, most)
        if asha
        else (),
        workers_per_trial=resources.workers_per_trial,
        cpus_per_trial=cpus,
        gpus_per_trial=gpus,
        concurrent_trials=min(
            _how_often(machine.n_cpus, cpus),
            _how_often(machine.n_gpus, gpus),
            resources.max_concurrent_trials or n_trials,
            n_trials,
        ),
        machine=machine,
    )


def concurrent_trials(study: StudyConfig, machine: Machine) -> int:
    """Returns how many trials run at a time; MachineError where not even one fits."""
    plan = plan_study(study, machine)
    if not plan.fits:
        raise MachineError(
            f"a trial takes {plan.cpus_per_trial:g} CPUs and {plan.gpus_per_trial:g} GPUs, this"
            f" machine has {machine.n_cpus} and {machine.n_gpus}: lower"
            " resources.workers_per_trial, cpus_per_worker or gpus_per_worker"
        )
    return plan.concurrent_trials


def rung_epochs(grace_period: int, reduction_factor: float, n_epochs: int) -> tuple[int, ...]:
    """Returns the epochs, before the last, at which ASHA compares trials.

    >>> rung_epochs(4, 3.0, 40)
    (4, 12, 36)
    """
    rungs: list[int] = []
    rung = float(grace_period)
    while rung < n_epochs:
        rungs.append(math.ceil(rung))
        rung *= reduction_factor
    return tuple(sorted({rung for rung in rungs if rung < n_epochs}))


def plan_document(study: StudyConfig, plan: Plan) -> dict[str, Any]:
    """Returns plan and study as one JSON document."""
    point = published_point(study)
    return {
        "name": study.name,
        "data": study.data.model_dump(mode="json"),
        "objective": study.objective.model_dump(mode="json"),
        "reference": study.reference.model_dump(mode="json"),
        "sampler": study.sampler.model_dump(mode="json"),
        "scheduler": study.scheduler.model_dump(mode="json"),
        "search_space": {
            path: {**parameter.model_dump(mode="json"), "published": point[path]}
            for path, parameter in study.search_space.items()
        },
        "plan": {**asdict(plan), "fits": plan.fits},
        "warnings": warnings_for(study),
    }


def describe_range(parameter: Parameter) -> str:
    """Returns a range in words."""
    if isinstance(parameter, CategoricalParameter):
        return "one of " + ", ".join(map(str, parameter.choices))
    kind = "whole numbers " if parameter.type == "int" else ""
    step = f" in steps of {parameter.step:g}" if parameter.step else ""
    log = ", logarithmic" if parameter.log else ""
    return f"{kind}{parameter.low:g} to {parameter.high:g}{step}{log}"


def _epochs(study: StudyConfig) -> tuple[int, int]:
    searched = study.search_space.get("training.n_epochs")
    possible = corners(searched) if searched else (study.training.n_epochs,)
    return int(min(possible)), int(max(possible))


def _how_often(available: int, needed: float) -> int:
    """How often what is needed fits; thirds that add up to almost one count as one."""
    return math.floor(available / needed + 1e-6) if needed else 10**9
