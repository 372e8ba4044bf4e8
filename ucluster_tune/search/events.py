"""What can happen in a study: the typed lines of its journal.

Knows nothing of files. `epoch.record` is the training layer's EpochRecord as a dictionary; values
that are not finite become null.
"""

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

FORMAT_VERSION = 1

Value = bool | int | float | str
Outcome = Literal["running", "complete", "stopped_early", "failed", "interrupted"]
FinalOutcome = Literal["complete", "stopped_early", "failed", "interrupted"]
StudyState = Literal["running", "interrupted", "complete", "failed"]
FinalState = Literal["interrupted", "complete", "failed"]


def utc_now() -> str:
    """Returns the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    time: str = Field(default_factory=utc_now)

    def line(self) -> str:
        """Returns the event as one line of JSON, without the line's end."""
        return self.model_dump_json()


class StudyStarted(_Event):
    """A study begins; the first line of each journal."""

    event: Literal["study_started"] = "study_started"
    format_version: int = FORMAT_VERSION
    name: str
    config: dict[str, Any]
    code_version: str
    dataset_checksum: str
    tracking_uri: str
    experiment_id: str
    run_id: str
    seed: int
    reference_accuracy: float
    baselines: dict[str, Any] = {}


class TrialStarted(_Event):
    """A trial begins, with the values suggested for it."""

    event: Literal["trial_started"] = "trial_started"
    trial: str
    hyperparameters: dict[str, Value]
    run_id: str


class EpochEnded(_Event):
    """A trial finished an epoch."""

    event: Literal["epoch"] = "epoch"
    trial: str
    record: dict[str, Any]

    @field_validator("record")
    @classmethod
    def _epoch_is_counted_from_1(cls, record: dict[str, Any]) -> dict[str, Any]:
        epoch = record.get("epoch")
        if not isinstance(epoch, int) or epoch < 1:
            raise ValueError(f"epoch must be a whole number from 1, got {epoch!r}")
        return record


class TrialEnded(_Event):
    """A trial ended, with its outcome and, unless it went to its last epoch, the cause."""

    event: Literal["trial_ended"] = "trial_ended"
    trial: str
    outcome: FinalOutcome
    cause: str | None = None
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


Event = StudyStarted | TrialStarted | EpochEnded | TrialEnded | StudyEnded | StudyEvaluated

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes) -> Event:
    """Returns the event that a line holds; ValueError says what is wrong with it."""
    return _EVENTS.validate_json(line)
