"""What is known of a study, whether it runs, has ended or was killed; read from its record.

Imports neither Ray, Optuna nor MLflow. `study_status` is what `ucluster-tune status --json`
prints: the keys up to `trials` are stable, further ones may come and go.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ucluster_tune.config.names import nearest, study_name_fault
from ucluster_tune.errors import StudyError
from ucluster_tune.study.bucket.copy import has_record, refresh
from ucluster_tune.study.budget import elapsed_s, n_epochs_run, spent
from ucluster_tune.study.confirming import is_lost
from ucluster_tune.study.events import Event, StudyEnded, TrialEnded, seconds_between, utc_now
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.lock import is_driven
from ucluster_tune.study.pareto import pareto_front
from ucluster_tune.study.paths import StudiesFolder, StudyPaths, open_studies
from ucluster_tune.study.record import StudyRecord, as_trial_id
from ucluster_tune.study.trainings import TrainingState, TrialState
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.files import TrialFiles

_QUOTED = ("clustering_accuracy", "clustering_accuracy_batched")
_MAX_REQUESTS = 16  # to a bucket, at a time
_KILLED = "the driver was killed"


def find_study(folder: StudiesFolder, name: str | None) -> StudyPaths:
    """Return the paths of a study that exists; StudyError names the nearest one otherwise.

    Args:
        folder: of all studies.
        name: of the study; None for the one of which something was recorded last.
    """
    paths = None if name is None else folder.study(name)
    names = folder.names()
    if paths is not None and name in names:
        return paths
    if not names:
        raise StudyError(
            f"no study{f' {name!r}' if name else ''}: {folder.place} holds none yet;"
            " start one with `ucluster-tune run FILE`, or name its folder with --studies-dir"
        )
    if name is None:
        lines = list_studies(folder)
        return folder.listed(max(lines, key=lambda line: str(line.get("last_event", "")))["name"])
    close = nearest(name, names)
    hint = f"did you mean {close}?" if close else "`ucluster-tune list` shows those there are"
    raise StudyError(f"no study {name!r} in {folder.place}; {hint}")


def find_trial(paths: StudyPaths, text: str) -> str:
    """Return the id of a study's trial; StudyError names those there are otherwise.

    Args:
        paths: of the study.
        text: the id, or the number alone.
    """
    trials, trial = paths.trial_ids(), as_trial_id(text)
    if trial not in trials:
        told = ", ".join(trials) or "none yet"
        raise StudyError(f"study {paths.name} has no trial {text!r}; there are {told}")
    return trial


def read_study(paths: StudyPaths) -> StudyRecord:
    """Return a study's record; what a killed driver left running is interrupted in it."""
    driven = is_driven(paths)  # before the record: a driver that ends meanwhile has told so there
    refresh(paths)
    record = read_record(paths.record)
    if not driven:
        for event in closing_events(record):
            record.apply(event)
    return record


def closing_events(record: StudyRecord) -> list[Event]:
    """Return what a driver that was killed did not come to write, timed as its last event."""
    if record.state != "running":
        return []
    time = record.last_event
    trials = [
        TrialEnded(
            time=time,
            trial=trial_id,
            training=training_id,
            outcome="interrupted",
            cause=_KILLED,
            epochs=training.epochs,
        )
        for (trial_id, training_id), training in record.running_trainings.items()
    ]
    return [*trials, StudyEnded(time=time, state="interrupted", cause=_KILLED)]


def model_folder(place: Path | str) -> str:
    """Return the folder of a trial, of the best one of a study; any other path or URI as it is.

    Args:
        place: of a study's folder, else `NAME` or `NAME/TRIAL` of one in the studies folder.

    Raises:
        StudyError: no trial of the study has reached anything yet, there is no such trial, or its
            bucket cannot be read.
    """
    paths, trial = _study_at(str(place)), None
    if paths is None:
        paths, trial = named(str(place)) or (None, None)
    if paths is None:
        return str(place)
    if trial is not None:
        return paths.trial(trial).place
    return best_trial(paths).place


def best_trial(paths: StudyPaths) -> TrialFiles:
    """Return the files of a study's best trial; StudyError where there is none yet."""
    best = read_study(paths).best
    if best is None:
        raise StudyError(
            f"study {paths.name} has no best trial yet; wait for the first epoch, or name the"
            f" folder of a trial in {paths.place}/{paths.trials.name}"
        )
    return paths.trial(best.id, best.best_training.plan.id)


def trained_config(place: Path) -> Path:
    """Return the file with what `NAME` (its best trial) or `NAME/TRIAL` trained; else as it is.

    Raises:
        StudyError: as for `model_folder`.
    """
    paths, trial = named(str(place)) or (None, None)
    if paths is None:
        return place
    if trial is not None:
        return paths.trial(trial).fetched_config()
    best = best_trial(paths)  # brings a working copy up to its bucket
    return paths.best_yaml if paths.best_yaml.is_file() else best.fetched_config()


def named(text: str) -> tuple[StudyPaths, str | None] | None:
    """Return the study, and the trial in it, that `NAME` or `NAME/TRIAL` means.

    None for a path that is there, a URI, and where the studies folder has no study of that name.

    Raises:
        StudyError: the study has no such trial, or the bucket cannot be read.
    """
    name, mark, trial = text.partition("/")
    if "://" in text or study_name_fault(name) is not None or Path(text).exists():
        return None
    paths = open_studies().study(name)
    exists = paths.record.is_file() if paths.remote is None else has_record(paths)
    if not exists:
        return None
    return paths, find_trial(paths, trial) if mark else None


def _study_at(place: str) -> StudyPaths | None:
    if "://" not in place:
        paths = StudyPaths(Path(place).absolute())
        return paths if paths.record.is_file() else None
    head, mark, query = place.partition("?")
    folder, _, name = head.rstrip("/").rpartition("/")
    studies = open_studies(f"{folder}{mark}{query}")
    if studies.remote is None or studies.remote.name == "trials":
        return None
    paths = studies.listed(name)
    return paths if has_record(paths) else None


def remaining_s(record: StudyRecord) -> float | None:
    """Return an estimate of the seconds to the search's end, None where there is no telling.

    The epochs so far give the speed. A trial that is still to come is taken to last as long as
    the finished ones did on average; before one has ended nothing is told, nor when all have.
    """
    if record.is_confirming:
        return None
    if record.state == "running" and record.is_open_ended and record.until is not None:
        return seconds_between(utc_now(), record.until)
    running = list(record.running.values())
    n_epochs_done = record.epochs_of_finished + sum(
        t.epochs_run for trial in running for t in trial.searched if t.outcome == "running"
    )
    if record.state != "running" or not record.n_finished or not n_epochs_done:
        return None
    expected = record.epochs_of_finished / record.n_finished
    n_to_come = max(0, record.n_trials - record.n_finished - len(running))
    n_left = n_to_come * expected + sum(
        (expected if trial.epochs_run < expected else trial.n_epochs * trial.n_seeds)
        - trial.epochs_run
        for trial in running
    )
    per_epoch_s = elapsed_s(record) / n_epochs_done
    limits = [n_left * per_epoch_s]
    if record.budget.total_epochs is not None:
        limits.append((record.budget.total_epochs - n_epochs_run(record)) * per_epoch_s)
    if record.budget.hours is not None:
        limits.append(3600 * record.budget.hours - elapsed_s(record))
    return max(0.0, min(limits)) if running or n_to_come else None


def study_status(paths: StudyPaths) -> dict[str, Any]:
    """Return all that is known of a study, as plain data."""
    record = read_study(paths)
    return {
        "name": paths.name,
        "state": record.state,
        "reference_accuracy": record.reference_accuracy,
        "tracking_uri": record.tracking_uri,
        "experiment_id": record.experiment_id,
        "run_id": record.run_id,
        "best": _best_status(record),
        "trials": [_trial_status(trial, record) for trial in record.trials.values()],
        "other_trials": [_trial_status(trial, record) for trial in record.other_trials.values()],
        "cause": record.cause,
        "objective": record.objective.model_dump(),
        "pareto_front": _front_status(record),
        "n_trials": record.n_trials,
        "n_finished": record.n_finished,
        "until": record.until,
        "budget": record.budget.model_dump(),
        "n_epochs_run": n_epochs_run(record),
        "spent": {one.name: round(one.amount, 4) for one in spent(record)},
        "n_sessions": record.n_sessions,
        "warm_start": record.warm_start.model_dump() if record.warm_start else None,
        "baselines": record.baselines,
        "yardsticks": None if record.yardsticks is None else asdict(record.yardsticks),
        "confirmations": [asdict(found) for found in record.confirmations.values()],
        "started": record.started,
        "ended": record.ended,
        "elapsed_s": round(elapsed_s(record), 1),
        "remaining_s": _rounded(remaining_s(record)),
        "fitted": record.fitted,
        "seed": record.seed,
        "code_version": record.code_version,
        "dataset_checksum": record.dataset_checksum,
        "is_labelled": record.is_labelled,
    }


def list_studies(folder: StudiesFolder) -> list[dict[str, Any]]:
    """Return one line about each study; a study that cannot be read has state `unreadable`."""
    studies = [folder.listed(name) for name in folder.names()]
    if folder.remote is None:
        return [_line(paths) for paths in studies]
    with ThreadPoolExecutor(_MAX_REQUESTS) as threads:
        return list(threads.map(_line, studies))


def _line(paths: StudyPaths) -> dict[str, Any]:
    try:
        record = read_study(paths)
    except StudyError as error:
        return {"name": paths.name, "state": "unreadable", "cause": str(error)}
    best, open_one = record.best, record.open_confirmation
    may_end = open_one is not None and not is_lost(record, open_one.plan)
    return {
        "name": paths.name,
        "state": record.state,
        "cause": record.cause,
        "n_trials": record.n_trials,
        "n_finished": record.n_finished,
        "best": {"trial_id": best.id, **_accuracies(best.best)} if best else None,
        "reference_accuracy": record.reference_accuracy,
        "open_confirmation": open_one.plan.id if open_one and may_end else None,
        "started": record.started,
        "last_event": record.last_event,
        "elapsed_s": round(elapsed_s(record), 1),
    }


def _best_status(record: StudyRecord) -> dict[str, Any] | None:
    if record.best is None:
        return None
    return {
        "trial_id": record.best.id,
        "score": record.best.score(record.objective),
        "validation": _accuracies(record.best.best),
        "test": {
            name: (record.best_test or {}).get(name)
            for name in (*_QUOTED, "clustering_accuracy_interval")
        },
    }


def _front_status(record: StudyRecord) -> list[dict[str, Any]]:
    """Return the trials of the Pareto front with their objectives; none of a single objective."""
    objective = record.objective
    front = pareto_front(record) if objective.others else []
    return [
        {"trial_id": t.id, **dict(zip(objective.metrics, t.scores(objective), strict=True))}
        for t in front
    ]


def _trial_status(trial: TrialState, record: StudyRecord) -> dict[str, Any]:
    return {
        "id": trial.id,
        "outcome": trial.outcome,
        "epochs": trial.epochs,
        "hyperparameters": trial.hyperparameters,
        **_accuracies(trial.best),
        "score": trial.score(record.objective),
        "run_id": trial.run_id,
        "spread": trial.spread(record.objective.metric),
        "best_epoch": trial.best_epoch,
        "n_epochs": trial.n_epochs,
        "n_retries": len(trial.retry_causes),
        "n_lost_nodes": trial.n_lost_nodes,
        "is_waiting": trial.is_waiting,
        "waiting_since": trial.waiting_since,
        "restored_epochs": trial.restored_epochs,
        "n_epochs_again": trial.n_epochs_again,
        "cause": trial.cause,
        "failure_kind": trial.kind,
        "warnings": trial.warnings,
        "started": trial.started,
        "ended": trial.ended,
        "trainings": [_training_status(training) for training in trial.trainings.values()],
    }


def _training_status(training: TrainingState) -> dict[str, Any]:
    return {
        **training.plan.model_dump(),
        "outcome": training.outcome,
        "epochs": training.epochs,
        "best_epoch": training.best.epoch if training.best else None,
        **_accuracies(training.best),
        "test": None if training.test is None else asdict(training.test),
        "cause": training.cause,
    }


def _accuracies(epoch: EpochRecord | None) -> dict[str, float | None]:
    return {name: None if epoch is None else epoch.value(name) for name in _QUOTED}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
