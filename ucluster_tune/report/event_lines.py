"""A search as lines, one an event: what `run` writes without a terminal, and `logs` shows."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_words import line_of
from ucluster_tune.report.trials_table import failure_line, outcome_counts, warning_lines
from ucluster_tune.report.yardstick_words import beside_mass
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrainingStarted,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
)
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import FIRST, TrialState

_LONG_WAIT_S = 30.0  # longer than a process takes to start


def lines_of_event(event: Event, record: StudyRecord, left_s: float | None = None) -> list[str]:
    """Return what is told of an event, of which most need no word.

    Args:
        event: that the record has taken in.
        record: of the study.
        left_s: an estimate of the seconds to the search's end, while it runs.
    """
    told: str | None = None
    match event:
        case StudyStarted():
            told = begin_line(record)
        case StudyResumed() if not record.is_confirming:
            told = begin_line(record)
        case StudyEnded():
            told = f"study {record.name} {record.state}: {outcome_counts(record)}"
        case _ if record.is_confirming:
            told = line_of(event, record)
        case TrialStarted():
            told = _started_line(record.trials[event.trial])
        case TrainingStarted() if event.training.parent is not None:
            told = _follows_line(event)
        case TrialPlaced() if event.waited_s >= _LONG_WAIT_S:
            told = f"{_named(event)} has its place after {cells.duration(event.waited_s)}"
        case TrialResumed() | TrialRestored():
            told = _goes_on_line(event)
        case EpochEnded():
            told = _epoch_line(event, record)
        case TrialEnded():
            trial = record.trials[event.trial]
            if trial.n_seeds == 1 and not record.is_on_curve(event):
                return []  # that it goes on as another training was told before
            if trial.outcome == "running":
                n_left = trial.n_seeds - sum(t.outcome == "complete" for t in trial.searched)
                return [f"{_named(event)} {event.outcome}, {cells.plural(n_left, 'seed')} to go"]
            return [_ended_line(trial, record, left_s), *warning_lines(trial)]
    return [] if told is None else [told]


class ToldEvents:
    """Folds a record's events, and tells each of them with its time."""

    def __init__(self) -> None:
        self._record: StudyRecord | None = None

    def lines(self, events: Iterable[Event], name: str) -> Iterator[str]:
        """Yield the lines of the next events of the study that its folder calls `name`."""
        for event in events:
            if self._record is None:
                assert isinstance(event, StudyStarted), "a record begins with it"
                self._record = StudyRecord(event)
            else:
                self._record.apply(event)
            self._record.name = name
            time = datetime.fromisoformat(event.time).astimezone()
            for line in lines_of_event(event, self._record):
                yield f"{time:%Y-%m-%d %H:%M:%S} {line}"


def begin_line(record: StudyRecord) -> str:
    """Return how many trials a search is to have, and on what each runs."""
    return f"study {record.name}: {cells.plural(record.n_trials, 'trial')}, {placement(record)}"


def placement(record: StudyRecord) -> str:
    """Return on what each trial runs, with the driver at work."""
    fitted = {path.partition(".")[2]: value for path, value in record.fitted.items()}
    resources = {**record.config["resources"], **fitted}
    n_workers = resources["workers_per_trial"]
    text = f"each on {cells.plural(n_workers if isinstance(n_workers, int) else 1, 'worker')}"
    return text + (" with GPU" if resources["gpus_per_worker"] else "")


def _started_line(trial: TrialState) -> str:
    values = ", ".join(
        f"{name}={cells.setting(value)}" for name, value in trial.hyperparameters.items()
    )
    return f"trial {trial.id} started" + (f": {values}" if values else "")


def _goes_on_line(event: TrialResumed | TrialRestored) -> str:
    if isinstance(event, TrialResumed):
        return f"{_named(event)} goes on: {event.cause.strip().splitlines()[0]}"
    if not event.epoch:
        return f"{_named(event)} begins again: no checkpoint of it is whole"
    return f"{_named(event)} went on from its checkpoint of epoch {event.epoch}"


def _follows_line(event: TrainingStarted) -> str:
    plan, parent = event.training, event.training.parent
    assert parent is not None, "asked of such trainings alone"
    values = "".join(f", {name}={cells.setting(v)}" for name, v in plan.hyperparameters.items())
    return (
        f"trial {event.trial} goes on as {plan.id} from epoch {parent.epoch} of trial"
        f" {parent.trial}{values}"
    )


def _named(event: TrialPlaced | TrialResumed | TrialRestored | EpochEnded | TrialEnded) -> str:
    return f"trial {event.trial}" + (f" {event.training}" if event.training != FIRST else "")


def _epoch_line(event: EpochEnded, record: StudyRecord) -> str:
    trial, last = record.trials[event.trial], event.record
    batched = last.clustering_accuracy_batched
    beside = beside_mass(record, last.value("clustering_accuracy"))
    agreement = (
        f" accuracy {cells.percent(last.clustering_accuracy)}, in batches {cells.percent(batched)}"
        if record.is_labelled
        else f" silhouette {cells.number(last.silhouette)},"
        f" stability {cells.number(last.stability)}"
    )
    return (
        f"{_named(event)} epoch {last.epoch}/{trial.n_epochs} {last.phase}:"
        f" focal loss {cells.number(last.focal_loss)},"
        f" clustering loss {cells.number(last.clustering_loss)},"
        f"{agreement}" + (f", {beside}" if beside else "")
    )


def _ended_line(trial: TrialState, record: StudyRecord, left_s: float | None) -> str:
    if trial.outcome == "failed":
        return failure_line(trial).plain
    line = f"trial {trial.id} {trial.outcome.replace('_', ' ')} after epoch {trial.epochs}"
    metric = record.objective.metric
    line += f": best {metric} {cells.metric(metric, trial.score(record.objective))}"
    line += f", seeds {cells.spread(metric, trial)}" if trial.n_seeds > 1 else ""
    line += f"; {record.n_finished} of {cells.plural(record.n_trials, 'trial')} done"
    return line + (f", {cells.about(left_s)} left" if left_s is not None else "")
