"""The typed, frozen configuration of a study: what is searched, how, and for how long.

Knows nothing of files, TensorFlow, Ray or Optuna.
"""

import json
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field

from ucluster_tune.config.budget import BudgetConfig
from ucluster_tune.config.names import study_name_fault
from ucluster_tune.config.notify import NotifyConfig
from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.section import Rule, Section
from ucluster_tune.config.trial import (
    DataConfig,
    LossConfig,
    ModelConfig,
    PositiveFloat,
    TrainingConfig,
)

_MAX_STEPS = 10**9
AUTO: Final = "auto"
_SMALLEST_PART = 0.01  # of a GPU; Ray counts in steps of 0.0001


def _interval(low: float, high: float) -> str | None:
    return None if low <= high else f"must not be above high ({high}), got {low}"


def _positive_for_log(low: float, log: bool) -> str | None:
    return f"must be > 0 when log is true, got {low}" if log and low <= 0 else None


def _log_or_step(step: float | None, log: bool) -> str | None:
    if not log or step is None:
        return None
    return f"excludes log: true, leave one of them out, got {step}"


def _countable_steps(step: float | None, low: float, high: float) -> str | None:
    if step is None or high - low <= step * _MAX_STEPS:
        return None
    return f"makes more than {_MAX_STEPS} values, leave it out, got {step}"


def _as_text(value: object) -> object:
    """Return a list as its text, as which it is one value everywhere; others as they are."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def _choices_differ(choices: Sequence[object]) -> str | None:
    if len({(isinstance(choice, bool), _as_text(choice)) for choice in choices}) == len(choices):
        return None
    return f"must not repeat, got {list(choices)}"


_INTERVAL_RULES = (
    Rule("low", ("low", "high"), _interval),
    Rule("low", ("low", "log"), _positive_for_log),
    Rule("step", ("step", "log"), _log_or_step),
    Rule("step", ("step", "low", "high"), _countable_steps),
)


Choice = Annotated[bool | int | float | str, BeforeValidator(_as_text)]


class PriorConfig(Section):
    """Where good values are believed to lie."""

    center: Choice | None = Field(None, description="null: the published value")
    confidence: Literal["low", "medium", "high"] = "medium"


class _Range(Section):
    """What every kind of range may have."""

    prior: PriorConfig | None = Field(
        None, description="what the first part of the budget is spent around"
    )

    when: str | None = Field(
        None,
        min_length=1,
        description="where this condition does not hold, the published value is taken",
    )


class FloatParameter(_Range):
    """A real hyperparameter in the closed interval [low, high]."""

    rules: ClassVar[tuple[Rule, ...]] = _INTERVAL_RULES

    type: Literal["float"]
    low: float
    high: float
    log: bool = Field(False, description="sample uniformly in the logarithm")
    step: PositiveFloat | None = Field(None, description="distance of the allowed values")


class IntParameter(_Range):
    """A whole-number hyperparameter in the closed interval [low, high]."""

    rules: ClassVar[tuple[Rule, ...]] = _INTERVAL_RULES

    type: Literal["int"]
    low: int
    high: int
    log: bool = Field(False, description="sample uniformly in the logarithm")
    step: int | None = Field(None, ge=1, description="distance of the allowed values")


class CategoricalParameter(_Range):
    """A hyperparameter that takes one of the listed values."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("choices", ("choices",), _choices_differ),)

    type: Literal["categorical"]
    choices: tuple[Choice, ...] = Field(min_length=1, strict=False)


Parameter = Annotated[
    FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="type")
]


class SamplerConfig(Section):
    """How Optuna suggests hyperparameters."""

    name: Literal["auto", "tpe", "random", "qmc", "grid", "nsga2", "nsga3"] = Field(
        "auto", description="auto: grid, qmc or tpe, by space and budget; `check` says why"
    )
    seed: int = Field(1, ge=0, le=2**31 - 1)
    n_startup_trials: int = Field(
        4, ge=0, le=100_000, description="random trials before TPE models what it has seen"
    )
    published_first: bool = Field(
        True, description="the published recipe, fitted into the space, is the first trial"
    )
    try_first: tuple[dict[str, Choice], ...] = Field(
        (),
        strict=False,
        description="points that come next, by dotted path; what they leave out is sampled",
    )


class SchedulerConfig(Section):
    """Which running trials are stopped early."""

    name: Literal["asha", "hyperband", "median", "none", "pbt"] = "asha"
    grace_period: int = Field(
        5,
        ge=1,
        le=100_000,
        description="epochs that every trial gets; not written: the pretraining, before which"
        " curves say little, and one more, or all where there are fewer",
    )
    reduction_factor: float = Field(
        3.0, gt=1, le=100, description="one in so many trials passes a rung"
    )
    interval: int = Field(
        5, ge=1, le=100_000, description="pbt: epochs from one comparison to the next"
    )


def _one_gpu_a_worker(gpus_per_worker: float, workers_per_trial: int | str) -> str | None:
    if gpus_per_worker > 1:
        return (
            f"must be at most 1, since a worker trains on one GPU, got {gpus_per_worker:g}; raise"
            " workers_per_trial to use more GPUs"
        )
    if 0 < gpus_per_worker < 1 and workers_per_trial not in (AUTO, 1):
        return (
            f"must be 0 or 1 with {workers_per_trial} workers_per_trial, since workers of a trial"
            f" cannot share a GPU, got {gpus_per_worker:g}; a part of a GPU goes with"
            " workers_per_trial: 1"
        )
    return None


def _parts_that_ray_counts(gpus_per_worker: float) -> str | None:
    if gpus_per_worker == 0 or gpus_per_worker >= _SMALLEST_PART:
        return None
    return f"must be 0 or at least {_SMALLEST_PART}, got {gpus_per_worker:g}"


class ResourcesConfig(Section):
    """What one trial occupies, and how many run at a time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("gpus_per_worker", ("gpus_per_worker", "workers_per_trial"), _one_gpu_a_worker),
        Rule("gpus_per_worker", ("gpus_per_worker",), _parts_that_ray_counts),
    )

    workers_per_trial: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        AUTO,
        description="Horovod processes of a trial; auto: one, and more where trials leave nodes"
        " empty",
    )
    cpus_per_worker: float = Field(
        1.0, gt=0, le=1024, description="cores, also TensorFlow threads"
    )
    gpus_per_worker: float = Field(
        0.0, ge=0, description="1, or a part of a GPU that several trials share"
    )
    placement: Literal["pack", "spread", "strict_pack", "strict_spread"] = Field(
        "pack",
        description="workers of a trial on few nodes or on many; strict: on one, on one each",
    )
    cpu_fallback: bool = Field(
        False, description="train on the CPU where Ray counts a GPU and TensorFlow sees none"
    )
    max_concurrent_trials: int | None = Field(
        None, ge=1, le=100_000, description="null: as many as fit"
    )
    start_timeout_s: PositiveFloat = Field(
        180.0, description="limit of the wait for a trial's workers to start"
    )
    epoch_timeout_s: PositiveFloat = Field(
        21_600.0, description="limit of the wait for an epoch; a worker may hang, not fail"
    )

    @property
    def n_workers(self) -> int:
        """Horovod processes of a trial; one as long as the plan has not said how many."""
        return self.workers_per_trial if isinstance(self.workers_per_trial, int) else 1

    @property
    def is_strict(self) -> bool:
        """Whether workers must be placed as asked for, not just as well as can be."""
        return self.placement.startswith("strict_")


class FailuresConfig(Section):
    """What is tried again, and when a search gives up."""

    max_retries: int = Field(
        3, ge=0, le=1000, description="times that a trial goes on after its workers were lost"
    )
    stop_after_same_cause: int | None = Field(
        3,
        ge=1,
        le=100_000,
        description="so many trials in a row failed for the same cause: the search stops;"
        " null: never",
    )


class TrackingConfig(Section):
    """Where MLflow and Optuna's dashboards keep the trials."""

    uri: str | None = Field(
        None, min_length=1, description="of MLflow; null: an SQLite file in the studies folder"
    )
    experiment: str = Field("ucluster-tune", min_length=1, max_length=200)
    optuna_storage: str | None = Field(
        None, min_length=1, description="database for dashboards; null: a file of the study"
    )


class ReferenceConfig(Section):
    """The number that every trial is compared with."""

    accuracy: float = Field(0.81, gt=0, le=1)
    source: str = Field(
        "arXiv:2010.07106: W/Z/top jets of the HLS4ML data, matched within batches of 512",
        min_length=1,
    )


class StudyConfig(Section):
    """A whole search-space file."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("name", ("name",), study_name_fault),)

    name: str | None = Field(None, description="null: the file's name")
    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    search_space: dict[str, Parameter] = Field(
        default_factory=dict, description="dotted path of the tuned value: its range"
    )
    derived: dict[str, str] = Field(
        default_factory=dict, description="dotted path of a value: the formula that gives it"
    )
    constraints: tuple[str, ...] = Field(
        (), strict=False, description="conditions on hyperparameters that each point fulfils"
    )
    objective: ObjectiveConfig = ObjectiveConfig()
    sampler: SamplerConfig = SamplerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    budget: BudgetConfig = BudgetConfig()
    resources: ResourcesConfig = ResourcesConfig()
    failures: FailuresConfig = FailuresConfig()
    tracking: TrackingConfig = TrackingConfig()
    notify: NotifyConfig = NotifyConfig()
    reference: ReferenceConfig = ReferenceConfig()

    def reading(self, path: str) -> "StudyConfig":
        """Return the same study on the data set at `path`."""
        return self.model_copy(update={"data": self.data.model_copy(update={"path": path})})
