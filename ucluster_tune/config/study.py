"""The typed, frozen configuration of a study: what is searched, how, and for how long.

Knows nothing of files, TensorFlow, Ray or Optuna.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ucluster_tune.config.trial import (
    DataConfig,
    LossConfig,
    ModelConfig,
    PositiveFloat,
    Section,
    TrainingConfig,
)

StudyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

Metric = Literal[
    "clustering_accuracy",
    "clustering_accuracy_batched",
    "purity",
    "nmi",
    "ari",
    "focal_loss",
    "clustering_loss",
    "total_loss",
]


def _refuse_bad_interval(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low must not be above high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"low must be > 0 when log is true, got {low}")
    if log and step is not None:
        raise ValueError(f"log and step exclude each other, got log: true and step: {step}")


class FloatParameter(Section):
    """A real hyperparameter in the closed interval [low, high]."""

    type: Literal["float"]
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool = Field(False, description="sample uniformly in the logarithm")
    step: PositiveFloat | None = Field(None, description="distance of the allowed values")

    @model_validator(mode="after")
    def _interval_is_sound(self) -> "FloatParameter":
        _refuse_bad_interval(self.low, self.high, self.log, self.step)
        return self


class IntParameter(Section):
    """A whole-number hyperparameter in the closed interval [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = Field(False, description="sample uniformly in the logarithm")
    step: int | None = Field(None, ge=1, description="distance of the allowed values")

    @model_validator(mode="after")
    def _interval_is_sound(self) -> "IntParameter":
        _refuse_bad_interval(self.low, self.high, self.log, self.step)
        return self


class CategoricalParameter(Section):
    """A hyperparameter that takes one of the listed values."""

    type: Literal["categorical"]
    choices: tuple[bool | int | float | str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _choices_differ(self) -> "CategoricalParameter":
        if len({repr(choice) for choice in self.choices}) != len(self.choices):
            raise ValueError(f"choices must not repeat, got {list(self.choices)}")
        return self


Parameter = Annotated[
    FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="type")
]


class ObjectiveConfig(Section):
    """What makes one trial better than another, measured on validation jets."""

    metric: Metric = "clustering_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"


class SamplerConfig(Section):
    """How Optuna suggests hyperparameters."""

    name: Literal["tpe", "random"] = "tpe"
    seed: int = Field(1, ge=0, le=2**31 - 1)
    n_startup_trials: int = Field(
        4, ge=0, le=100_000, description="random trials before TPE models what it has seen"
    )
    published_first: bool = Field(
        True, description="the published recipe, fitted into the space, is the first trial"
    )


class SchedulerConfig(Section):
    """Which running trials are stopped early, by Tune."""

    name: Literal["asha", "none"] = "asha"
    grace_period: int = Field(5, ge=1, le=100_000, description="epochs that every trial gets")
    reduction_factor: float = Field(
        3.0, gt=1, le=100, description="one in so many trials passes a rung"
    )


class BudgetConfig(Section):
    """How much is spent on the search."""

    n_trials: int = Field(1, ge=1, le=1_000_000)


class ResourcesConfig(Section):
    """What one trial occupies, and how many run at a time."""

    workers_per_trial: int = Field(1, ge=1, le=4096, description="Horovod processes of a trial")
    cpus_per_worker: float = Field(1.0, gt=0, le=1024, description="cores, also TensorFlow threads")
    gpus_per_worker: float = Field(0.0, ge=0, le=64)
    max_concurrent_trials: int | None = Field(
        None, ge=1, le=100_000, description="null: as many as fit"
    )


class TrackingConfig(Section):
    """Where MLflow keeps the runs."""

    uri: str | None = Field(
        None, min_length=1, description="null: an SQLite file in the studies folder"
    )
    experiment: str = Field("ucluster-tune", min_length=1, max_length=200)


class ReferenceConfig(Section):
    """The number that every trial is compared with."""

    accuracy: float = Field(0.81, gt=0, le=1)
    source: str = Field(
        "arXiv:2010.07106: W/Z/top jets of the HLS4ML data, matched within batches of 512",
        min_length=1,
    )


class StudyConfig(Section):
    """A whole search-space file."""

    name: StudyName | None = Field(None, description="null: the file's name")
    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    search_space: dict[str, Parameter] = Field(
        default_factory=dict, description="dotted path of the tuned value: its range"
    )
    objective: ObjectiveConfig = ObjectiveConfig()
    sampler: SamplerConfig = SamplerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    budget: BudgetConfig = BudgetConfig()
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()
    reference: ReferenceConfig = ReferenceConfig()
