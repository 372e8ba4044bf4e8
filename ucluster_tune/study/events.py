"""What can happen in a study: the typed lines of its journal, format 2.

Events of a trial say which of its trainings they are about: by default its first one.

Knows nothing of files. Values that are not finite become null.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.study.finalists import ConfirmationPlan, ConfirmationResult
from ucluster_tune.study.trainings import FIRST, Outcome, TrainingPlan, Value
from ucluster_tune.training.record import EpochRecord, known_values
from ucluster_tune.training.yardsticks import Measured, Yardsticks

FORMAT_VERSION = 2

FinalOutcome = Literal["complete", "stopped_early", "failed", "interrupted"]
StudyState = Literal["running", "interrupted", "complete", "failed"]
Purpose = Literal["search", "confirmation"]
FinalState = Literal["interrupted", "complete", "failed"]


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one ISO 8601 time to another, 0 where a clock was set back.

    >>> seconds_between("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00")
    90.0
    """
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, passed.total_seconds())


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
        others: of several objectives the others, at that epoch.
        values: the objective by epoch, of several seeds that of the first one.
        noise: standard error of the score, where it is the mean of several seeds.
        sampler_attributes: what Optuna's sampler keeps with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    id: str
    hyperparameters: dict[str, Value]
    outcome: Outcome
    score: float | None = None
    others: list[float | None] = []
    values: dict[int, float] = {}
    noise: float | None = None
    sampler_attributes: dict[str, Any] = {}


class WarmStart(BaseModel):
    """The trials of another study that this one's sampler knew from its start.

    Attributes:
        differing: the dotted paths, searched ones left out, at which trials of both differ.
        published: which of them is the published recipe as this study would try it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    trials: list[KnownTrial]
    differing: list[str] = []
    published: str | None = None

    def best(self, objective: ObjectiveConfig) -> KnownTrial | None:
        """Return the trial with the best score; None where no trial has one."""
        scored = ((objective.worth(t.score), t) for t in self.trials if t.score is not None)
        return max(scored, key=lambda pair: pair[0], default=(0.0, None))[1]


class StudyStarted(_Event):
    """A study begins; the first line of each journal.

    Attributes:
        study_id: unlike that of any other study; MLflow's run of the study is known by it.
        config: as it was asked for.
        fitted: what this driver runs in place of it on the nodes that it has, by dotted path.
        is_labelled: whether its jets have classes, without which there is no accuracy.
    """

    event: Literal["study_started"] = "study_started"
    format_version: int = FORMAT_VERSION
    name: str
    config: dict[str, Any]
    code_version: str
    dataset_checksum: str
    tracking_uri: str
    experiment_id: str
    study_id: str = Field(default_factory=lambda: uuid4().hex)
    seed: int
    reference_accuracy: float
    baselines: dict[str, Any] = {}
    warm_start: WarmStart | None = None
    fitted: dict[str, Value] = {}
    is_labelled: bool = True


class StudyResumed(_Event):
    """Another driver carries the study on.

    Attributes:
        fitted: as of `StudyStarted`; another driver has other nodes.
        purpose: a driver that confirms finalists leaves the search as it stands.
    """

    event: Literal["study_resumed"] = "study_resumed"
    code_version: str
    host: str
    fitted: dict[str, Value] = {}
    purpose: Purpose = "search"


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


class StudyCopied(_Event):
    """The study's folder is a copy of another one's, and is a study of its own from here on.

    Attributes:
        original: name of the other study.
        name: of this one.
        study_id: as of `StudyStarted`.
    """

    event: Literal["study_copied"] = "study_copied"
    original: str
    name: str
    study_id: str = Field(default_factory=lambda: uuid4().hex)


class StudyTracked(_Event):
    """MLflow keeps the study in this run from here on."""

    event: Literal["study_tracked"] = "study_tracked"
    tracking_uri: str
    experiment_id: str
    run_id: str


class TrialStarted(_Event):
    """A trial begins, with the values suggested for it, and with it its first training.

    Attributes:
        sampler_attributes: what Optuna's sampler keeps with it; plain values.
        training: of another role than `search` for a trial that nobody suggested.
    """

    event: Literal["trial_started"] = "trial_started"
    trial: str
    hyperparameters: dict[str, Value]
    sampler_attributes: dict[str, Any] = {}
    training: TrainingPlan = TrainingPlan()


class TrainingStarted(_Event):
    """A further training of a trial begins."""

    event: Literal["training_started"] = "training_started"
    trial: str
    training: TrainingPlan


class TrialPlaced(_Event):
    """A trial that was waiting has its CPUs and GPUs, and its process runs.

    Attributes:
        waited_s: since it was started or resumed.
    """

    event: Literal["trial_placed"] = "trial_placed"
    trial: str
    training: str = FIRST
    waited_s: float


class TrialTracked(_Event):
    """MLflow keeps the trial in this run."""

    event: Literal["trial_tracked"] = "trial_tracked"
    trial: str
    training: str = FIRST
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
    training: str = FIRST
    cause: str
    is_retry: bool = False
    kind: str | None = None


class TrialRestored(_Event):
    """The workers of a resumed trial went on from the checkpoint of this epoch, 0 for none."""

    event: Literal["trial_restored"] = "trial_restored"
    trial: str
    training: str = FIRST
    epoch: int


class EpochEnded(_Event):
    """A trial finished an epoch."""

    event: Literal["epoch"] = "epoch"
    trial: str
    training: str = FIRST
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
    training: str = FIRST
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


class YardsticksMeasured(_Event):
    """Simple ways to cluster were measured on the study's jets."""

    event: Literal["yardsticks_measured"] = "yardsticks_measured"
    yardsticks: Yardsticks


class ConfirmationPlanned(_Event):
    """Finalists are to be trained again."""

    event: Literal["confirmation_planned"] = "confirmation_planned"
    plan: ConfirmationPlan


class TrainingEvaluated(_Event):
    """A finalist's training, at its best epoch, was measured on test jets."""

    event: Literal["training_evaluated"] = "training_evaluated"
    trial: str
    training: str
    test: Measured


class ConfirmationEnded(_Event):
    """All trainings of a confirmation have ended, with this result."""

    event: Literal["confirmation_ended"] = "confirmation_ended"
    confirmation: str
    result: ConfirmationResult


Event = (
    StudyStarted
    | StudyResumed
    | StudyExtended
    | StudyCopied
    | StudyTracked
    | TrialStarted
    | TrainingStarted
    | TrialPlaced
    | TrialTracked
    | TrialResumed
    | TrialRestored
    | EpochEnded
    | TrialEnded
    | StudyEnded
    | StudyEvaluated
    | YardsticksMeasured
    | ConfirmationPlanned
    | TrainingEvaluated
    | ConfirmationEnded
)

_BEGINS = ("study_started", "trial_started")  # had a field that is gone
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes) -> Event:
    """Return the event that a line of this format holds; ValueError says what is wrong with it."""
    return _EVENTS.validate_json(line)


def upgraded(values: dict[str, Any]) -> list[Event]:
    """Return what a line of format 1 tells in this one; ValueError as for `parse_event`.

    A line of format 2, as another driver may have added it to an older journal, stays as it is.
    In format 1 a trial is one training, with the seed and the workers of the study. The id of its
    run in MLflow is told by events of their own since 0.1.

    Args:
        values: of the line.
    """
    run_id = values.pop("run_id", None) if values.get("event") in _BEGINS else None
    events = [_EVENTS.validate_python(values)]
    begun = events[0]
    if run_id is not None and isinstance(begun, StudyStarted):
        events.append(
            StudyTracked(
                time=begun.time,
                tracking_uri=begun.tracking_uri,
                experiment_id=begun.experiment_id,
                run_id=run_id,
            )
        )
    elif run_id is not None and isinstance(begun, TrialStarted):
        events.append(TrialTracked(time=begun.time, trial=begun.trial, run_id=run_id))
    return events
