"""What a study will do, in numbers, before anything is started."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from ucluster_tune.config.automatic import chosen_sampler, most_trials
from ucluster_tune.config.capacity import ClusterCapacity, NodeCapacity, n_trials_at_a_time
from ucluster_tune.config.points import least_and_most, published_point
from ucluster_tune.config.search_space import Value
from ucluster_tune.config.study import (
    AUTO,
    CategoricalParameter,
    Parameter,
    ResourcesConfig,
    StudyConfig,
)
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.errors import MachineError

_FEWEST_JETS = 64  # of a step, which each worker normalises alone


@dataclass(frozen=True)
class Machine:
    """What trials can share on one machine: processor cores and GPUs."""

    n_cpus: int
    n_gpus: int

    def capacity(self) -> ClusterCapacity:
        """Return it as a cluster of one node."""
        return ClusterCapacity((NodeCapacity(self.n_cpus, self.n_gpus),))


@dataclass(frozen=True)
class Plan:
    """Trials, epochs and resources of a study.

    Attributes:
        n_trials: None where only a time limits them; of a grid, no more than it has points.
        until: when the last one may begin; None where there is no such time.
        epochs_at_most: all trials to their last epoch; None where their number is not known.
        epochs_at_least: every trial stopped as early as the scheduler may, at its first seed.
        sampler: the one that suggests, in place of `auto` too.
        sampler_reason: why it does.
        rungs: the epochs at which the scheduler compares trials; empty where after each, or none.
        workers_why: why so many, where the study leaves it open; empty where it does not.
        cpus_per_trial: cores of all workers of a trial.
        concurrent_trials: trials at a time on this machine; 0 where not even one fits.
    """

    n_trials: int | None
    until: str | None
    epochs_per_trial: int
    epochs_at_most: int | None
    epochs_at_least: int | None
    sampler: str
    sampler_reason: str
    scheduler: str
    rungs: tuple[int, ...]
    workers_per_trial: int
    workers_why: str
    cpus_per_trial: float
    gpus_per_trial: float
    concurrent_trials: int
    machine: Machine

    @property
    def fits(self) -> bool:
        """Whether this machine can run a trial."""
        return self.concurrent_trials > 0


def on_these_nodes(study: StudyConfig, where: Machine | ClusterCapacity) -> StudyConfig:
    """Return the study as it is run there: on CPUs where no GPU is, if it may be."""
    resources = study.resources
    capacity = _capacity(where)
    has_gpus = capacity.may_grow or capacity.n_gpus > 0
    if has_gpus or not (resources.cpu_fallback and resources.gpus_per_worker):
        return study
    on_cpus = resources.model_copy(update={"gpus_per_worker": 0.0})
    return study.model_copy(update={"resources": on_cpus})


def with_workers(study: StudyConfig, where: Machine | ClusterCapacity) -> tuple[StudyConfig, str]:
    """Return the study with a number of workers in a trial, and why where it was left open.

    Trials beside each other are faster than workers of one trial, which wait for each other in
    each step. So there are more of these only where as many trials as are to run at a time leave
    nodes empty.
    """
    if study.resources.workers_per_trial != AUTO:
        return study, ""
    n_workers, why = _workers_left_open(study, _capacity(where))
    return _with_so_many(study, n_workers), why


def _workers_left_open(study: StudyConfig, capacity: ClusterCapacity) -> tuple[int, str]:
    if capacity.may_grow:
        return 1, "the autoscaler adds nodes for more trials"
    if 0 < study.resources.gpus_per_worker < 1:
        return 1, "workers of a trial cannot share a GPU"
    study = on_these_nodes(study, capacity)
    n_slots = n_trials_at_a_time(study.resources, capacity.nodes)
    n_at_a_time = _n_concurrent(study, capacity)
    if n_slots <= 1:
        return 1, "a second one does not fit"
    if n_slots < 2 * n_at_a_time:
        return 1, f"{n_at_a_time} trials side by side are faster than several workers each"
    batch, _ = least_and_most(study, "training.global_batch_size")
    n_workers = min(n_slots // n_at_a_time, batch // _FEWEST_JETS)
    while n_workers > 1 and _n_concurrent(_with_so_many(study, n_workers), capacity) < n_at_a_time:
        n_workers -= 1  # they do not fit as they are to be placed
    if n_workers > 1:
        return n_workers, f"{n_slots} fit, and {n_at_a_time} trials run at a time"
    return 1, f"a step of {batch} jets leaves several fewer than {_FEWEST_JETS} jets each"


def _with_so_many(study: StudyConfig, n_workers: int) -> StudyConfig:
    resources = study.resources.model_copy(update={"workers_per_trial": n_workers})
    return study.model_copy(update={"resources": resources})


@dataclass(frozen=True)
class FittedStudy:
    """A study as it was asked for, and as it runs on the nodes at hand.

    Attributes:
        asked: what the study's record holds, since other nodes may give more. How many workers a
            trial has is settled here, since trials of other numbers could not be compared.
        config: what its trials are made with here.
        n_at_a_time: trials that run at a time, on all nodes that there are or may be.
        workers_why: why a trial has so many workers; empty where it was asked for.
    """

    asked: StudyConfig
    config: StudyConfig
    n_at_a_time: int
    workers_why: str = ""

    @property
    def fitted(self) -> dict[str, Value]:
        """What runs here in place of what was asked for, by dotted path."""
        asked = self.asked.resources
        return {
            f"resources.{name}": value
            for name, value in self.config.resources
            if value != getattr(asked, name)
        }

    def reading(self, path: str) -> "FittedStudy":
        """Return this study on a data set that has been made meanwhile."""
        asked, config = self.asked.reading(path), self.config.reading(path)
        return replace(self, asked=asked, config=config)


def fit_study(study: StudyConfig, where: Machine | ClusterCapacity) -> FittedStudy:
    """Return a study as it runs on these nodes.

    Raises:
        MachineError: not even one trial can ever be placed; with the numbers of each node.
    """
    capacity = _capacity(where)
    study, why = with_workers(study, capacity)
    config = on_these_nodes(study, capacity)
    n_at_a_time = _n_concurrent(config, capacity)
    if n_at_a_time:
        return FittedStudy(study, config, n_at_a_time, why)
    raise MachineError(
        f"a trial takes {takes_in_words(config.resources)}, {_what_there_is(capacity)}: lower"
        " resources.workers_per_trial, cpus_per_worker or gpus_per_worker"
        + ", or choose another resources.placement"
        * config.resources.is_strict
    )


def plan_study(study: StudyConfig, machine: Machine) -> Plan:
    """Return the plan of a study on one machine."""
    study, workers_why = with_workers(study, machine)
    study = on_these_nodes(study, machine)
    least, most = least_and_most(study, "training.n_epochs")
    scheduler, resources = study.scheduler, study.resources
    stops_none = scheduler.name in ("none", "pbt")
    shortest = least if stops_none else min(scheduler.grace_period, least)
    n_trials, sampler = most_trials(study), chosen_sampler(study)
    n_seeds = study.objective.seeds_per_trial
    cpus = resources.n_workers * resources.cpus_per_worker
    gpus = resources.n_workers * resources.gpus_per_worker
    return Plan(
        n_trials=n_trials,
        until=study.budget.until,
        epochs_per_trial=most,
        epochs_at_most=n_trials and n_trials * n_seeds * most,
        epochs_at_least=n_trials and n_trials * shortest * (n_seeds if stops_none else 1),
        sampler=sampler.name,
        sampler_reason=sampler.reason,
        scheduler=scheduler.name,
        rungs=_comparisons(study, most),
        workers_per_trial=resources.n_workers,
        workers_why=workers_why,
        cpus_per_trial=cpus,
        gpus_per_trial=gpus,
        concurrent_trials=_n_concurrent(study, _capacity(machine)),
        machine=machine,
    )


def room_for_trials(study: StudyConfig, capacity: ClusterCapacity) -> int:
    """Return how many trials of a running search fit; one waits even where all nodes are gone."""
    return max(1, _n_concurrent(study, capacity))


def wait_for_nodes(study: StudyConfig, capacity: ClusterCapacity) -> str | None:
    """Return, in one line, what trials wait for where the nodes that are there do not do."""
    study = on_these_nodes(study, capacity)
    n_now = n_trials_at_a_time(study.resources, capacity.nodes)
    n_concurrent = _n_concurrent(study, capacity)
    if n_now >= n_concurrent:
        return None
    takes = f"A trial takes {takes_in_words(study.resources)}"
    room = "no room yet, so trials wait until nodes are added"
    if n_now:
        room = f"room for {n_now} at a time, and for more as nodes are added"
    return f"{takes}: {room} ({capacity.in_words()})"


def _capacity(where: Machine | ClusterCapacity) -> ClusterCapacity:
    return where.capacity() if isinstance(where, Machine) else where


def takes_in_words(resources: ResourcesConfig) -> str:
    """Return what one trial takes."""
    n_workers = resources.n_workers
    cpus, gpus = n_workers * resources.cpus_per_worker, n_workers * resources.gpus_per_worker
    text = f"{cpus:g} CPUs and {gpus:g} GPUs"
    return text + (f" in {n_workers} workers ({resources.placement})" if n_workers > 1 else "")


def _what_there_is(capacity: ClusterCapacity) -> str:
    if capacity.is_one_machine:
        return f"this machine has {capacity.n_cpus:g} and {capacity.n_gpus:g}"
    return f"the cluster has {capacity.in_words()}"


def _n_concurrent(study: StudyConfig, capacity: ClusterCapacity) -> int:
    n_trials, limit = study.budget.n_trials, study.resources.max_concurrent_trials
    fitting = n_trials_at_a_time(study.resources, capacity.nodes)
    if capacity.may_grow:  # a trial that waits has the autoscaler add a node
        fitting = max(fitting + 1, limit or 0)
    n_trainings = n_trials and n_trials * study.objective.seeds_per_trial
    return min(fitting, limit or fitting, n_trainings or fitting)


def _comparisons(study: StudyConfig, n_epochs: int) -> tuple[int, ...]:
    scheduler = study.scheduler
    if scheduler.name in ("asha", "hyperband"):
        return rung_epochs(scheduler.grace_period, scheduler.reduction_factor, n_epochs)
    if scheduler.name == "pbt":
        return tuple(range(scheduler.grace_period, n_epochs, scheduler.interval))
    return ()


def rung_epochs(grace_period: int, reduction_factor: float, n_epochs: int) -> tuple[int, ...]:
    """Return the epochs, before the last, at which ASHA and Hyperband compare trials.

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
    """Return plan and study as one JSON document."""
    point = published_point(study)
    return {
        "name": study.name,
        "data": study.data.model_dump(mode="json"),
        "objective": study.objective.model_dump(mode="json"),
        "reference": study.reference.model_dump(mode="json"),
        "derived": dict(study.derived),
        "constraints": list(study.constraints),
        "sampler": study.sampler.model_dump(mode="json"),
        "scheduler": study.scheduler.model_dump(mode="json"),
        "search_space": {
            path: {**parameter.model_dump(mode="json"), "published": point.get(path)}
            for path, parameter in study.search_space.items()
        },
        "plan": {**asdict(plan), "fits": plan.fits},
        "warnings": warnings_for(study),
    }


def describe_range(parameter: Parameter) -> str:
    """Return a range in words."""
    when = f", when {parameter.when}" if parameter.when else ""
    if parameter.prior is not None:
        center = "published value" if (given := parameter.prior.center) is None else given
        when += f", prior around {center} ({parameter.prior.confidence} confidence)"
    if isinstance(parameter, CategoricalParameter):
        return "one of " + ", ".join(map(str, parameter.choices)) + when
    kind = "whole numbers " if parameter.type == "int" else ""
    step = f" in steps of {parameter.step:g}" if parameter.step else ""
    log = ", logarithmic" if parameter.log else ""
    return f"{kind}{parameter.low:g} to {parameter.high:g}{step}{log}{when}"
