"""A confirmation of finalists while it runs and at its end, in words."""

from rich.console import RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.study.events import (
    ConfirmationEnded,
    EpochEnded,
    Event,
    TrainingEvaluated,
    TrainingStarted,
    TrialEnded,
    TrialRestored,
    TrialResumed,
    TrialStarted,
)
from ucluster_tune.study.finalists import PUBLISHED, SUPERVISED
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import FIRST, TrainingPlan, TrainingState


def line_of(event: Event, record: StudyRecord) -> str | None:
    """Return what is told of an event of a confirmation; None where nothing is."""
    if isinstance(event, ConfirmationEnded):
        return f"confirmation {event.confirmation} is finished"
    if isinstance(event, TrialStarted | TrainingStarted):
        return f"{_called(event.trial, event.training)} started"
    trial_id, training_id = getattr(event, "trial", ""), getattr(event, "training", FIRST)
    trial = record.trials.get(trial_id) or record.other_trials.get(trial_id)
    if trial is None or training_id not in trial.trainings:
        return None
    training = trial.trainings[training_id]
    told = _of_training(event, training)
    return None if told is None else f"{_called(trial_id, training.plan)} {told}"


def _of_training(event: Event, training: TrainingState) -> str | None:
    told: str | None = None
    match event:
        case EpochEnded():
            accuracy = cells.percent(event.record.value("clustering_accuracy"))
            epochs = f"{event.record.epoch}/{training.n_epochs}"
            told = f"epoch {epochs} {event.record.phase}: accuracy {accuracy}"
        case TrialResumed():
            told = f"goes on: {event.cause.strip().splitlines()[0]}"
        case TrialRestored():
            told = f"went on from its checkpoint of epoch {event.epoch}"
        case TrialEnded():
            why = f": {event.cause.strip().splitlines()[0]}" if event.cause else ""
            told = f"{event.outcome.replace('_', ' ')} after epoch {event.epochs}{why}"
        case TrainingEvaluated():
            told = f"{cells.percent(event.test.clustering_accuracy)} of test jets"
    return told


def _called(trial: str, plan: TrainingPlan) -> str:
    named = {PUBLISHED: "the published recipe", SUPERVISED: "the same network with labels"}
    name = named.get(trial, f"trial {trial}")
    return f"{name}, seed {plan.seed},"


def confirmation_lines(record: StudyRecord) -> list[RenderableType]:
    """Return the answer of the newest confirmation, and how far an open one is."""
    lines: list[RenderableType] = []
    confirmed, open_one = record.confirmed, record.open_confirmation
    if confirmed is not None and confirmed.result is not None:
        lines += [Text("\n".join(confirmed.result.words), style="bold")]
    if open_one is not None:
        plan = open_one.plan
        trials = {**record.trials, **record.other_trials}
        n_ended = sum(
            trials[trial].trainings[training.id].outcome in ("complete", "failed")
            for trial, training in plan.trainings()
            if trial in trials and training.id in trials[trial].trainings
        )
        told = f"Confirmation {plan.id}: {n_ended} of {len(plan.trainings())} trainings are done"
        if not record.is_confirming:
            told += f"; carry it on with `ucluster-tune confirm {record.name}`"
        lines.append(Text(told, style="yellow"))
    return lines
