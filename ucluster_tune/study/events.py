"""What can happen in a study: the typed lines of its journal.

Knows nothing of files. Values that are not finite become null.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from ucluster_tune.training.record import EpochRecord, known_values

FORMAT_VERSION = 1

Value = bool | int | float | str
Outcome = Literal["running", "complete", "stopped_early", "failed", "interrupted"]
FinalOutcome = Literal["complete", "stopped_early", "failed", "interrupted"]
StudyState = Literal["running", "interrupted", "complete", "failed"]
FinalState = Literal["interrupted", "complete", "failed"]


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    time: str = Field(default_factory=utc_now)

    def line(self) -> str:
        """Return the event as one line of JSON, without the line's end."""
        return self.model_dump_json()


class KnownTrial(BaseModel):
    """A trial as the sampler learns from it.

    Attributes:
        outcome: running for one that is to go on.
        score: the objective at its best epoch, None where there is none.
        values: the objective by epoch.
        sampler_attributes: what Optuna's sampler keeps with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    id: str
    hyperparameters: dict[str, Value]
    outcome: Outcome
    score: float | None = None
    values: dict[int, float] = {}
    sampler_attributes: dict[str, Any] = {}


class WarmStart(BaseModel):
    """The trials of another study that this one's sampler knew from its start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    trials: list[KnownTrial]


class StudyStarted(_Event):
    """A study begins; the first line of each journal.

    Attributes:
        run_id: of MLflow, told by `study_tracked` where it is None.
        study_id: unlike that of any other study; MLflow's run of the study is known by it.
        config: as it was asked for.
        fitted: what this driver runs in place of it on the nodes that it has, by dotted path.
    """

    event: Literal["study_started"] = "study_started"
    format_version: int = FORMAT_VERSION
    name: str
    config: dict[str, Any]
    code_version: str
    dataset_checksum: str
    tracking_uri: str
    experiment_id: str
    run_id: str | None = None
    study_id: str = Field(default_factory=lambda: uuid4().hex)
    seed: int
    reference_accuracy: float
    baselines: dict[str, Any] = {}
    warm_start: WarmStart | None = None
    fitted: dict[str, Value] = {}


class StudyResumed(_Event):
    """Another driver carries the study on.

    Attributes:
        fitted: as of `StudyStarted`; another driver has other nodes.
    """

    event: Literal["study_resumed"] = "study_resumed"
    code_version: str
    host: str
    fitted: dict[str, Value] = {}


class StudyExtended(_Event):
    """The study was given another budget, or a changed configuration.

    Attributes:
        config: of the study from here on.
        until: the time limit of a study that was extended before budgets had one.
        changes: what differs from the configuration before, one line each.
        fixed: the values that the trials so far had of what is searched only from here on.
    """

    event: Literal["study_extended"] = "study_extended"
    config: dict[str, Any]
    until: str | None = None
    changes: list[str] = []
    fixed: dict[str, Value] = {}


class StudyTracked(_Event):
    """MLflow keeps the study in this run from here on."""

    event: Literal["study_tracked"] = "study_tracked"
    tracking_uri: str
    experiment_id: str
    run_id: str


class TrialStarted(_Event):
    """A trial begins, with the values suggested for it.

    Attributes:
        sampler_attributes: what Optuna's sampler keeps with it; plain values.
    """

    event: Literal["trial_started"] = "trial_started"
    trial: str
    hyperparameters: dict[str, Value]
    sampler_attributes: dict[str, Any] = {}
    run_id: str | None = None


class TrialPlaced(_Event):
    """A trial that was waiting has its CPUs and GPUs, and its process runs.

    Attributes:
        waited_s: since it was started or resumed.
    """

    event: Literal["trial_placed"] = "trial_placed"
    trial: str
    waited_s: float


class TrialTracked(_Event):
    """MLflow keeps the trial in this run."""

    event: Literal["trial_tracked"] = "trial_tracked"
    trial: str
    run_id: str


class TrialResumed(_Event):
    """A trial goes on: after it was interrupted, or because its workers were lost.

    Attributes:
        cause: why it had stopped.
        is_retry: whether it counts against the trial's limit of failures.
        kind: of what was lost, as `trial.failures` names it, where the trial gave back its CPUs
            and GPUs and waits for others.
    """

    event: Literal["trial_resumed"] = "trial_resumed"
    trial: str
    cause: str
    is_retry: bool = False
    kind: str | None = None


class TrialRestored(_Event):
    """The workers of a resumed trial went on from the checkpoint of this epoch, 0 for none."""

    event: Literal["trial_restored"] = "trial_restored"
    trial: str
    epoch: int


class EpochEnded(_Event):
    """A trial finished an epoch."""

    event: Literal["epoch"] = "epoch"
    trial: str
    record: EpochRecord

    @field_validator("record", mode="before")
    @classmethod
    def _older_and_newer_records_are_read_too(cls, record: object) -> object:
        return known_values(record) if isinstance(record, dict) else record


class TrialEnded(_Event):
    """A trial ended, with its outcome and, unless it went to its last epoch, the cause.

    Attributes:
        kind: of a failure, as `trial.failures` names it.
    """

    event: Literal["trial_ended"] = "trial_ended"
    trial: str
    outcome: FinalOutcome
    cause: str | None = None
    kind: str | None = None
    epochs: int


class StudyEnded(_Event):
    """The driver stops driving the study."""

    event: Literal["study_ended"] = "study_ended"
    state: FinalState
    cause: str | None = None


class StudyEvaluated(_Event):
    """A trial's best checkpoint was measured on test jets, beside simple baselines."""

    event: Literal["study_evaluated"] = "study_evaluated"
    trial: str
    test: dict[str, Any]
    baselines: dict[str, Any] = {}


Event = (
    StudyStarted
    | StudyResumed
    | StudyExtended
    | StudyTracked
    | TrialStarted
    | TrialPlaced
    | TrialTracked
    | TrialResumed
    | TrialRestored
    | EpochEnded
    | TrialEnded
    | StudyEnded
    | StudyEvaluated
)

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes) -> Event:
    """Return the event that a line holds; ValueError says what is wrong with it."""
    return _EVENTS.validate_json(line)
