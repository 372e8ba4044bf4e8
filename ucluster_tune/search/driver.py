"""The process that drives a study: from Tune's calls to the journal, MLflow and the observers.

Order matters: first the journal, which is the truth, then all that can be rebuilt from it.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.search_space import trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import ConfigurationError, StudyError, UClusterTuneError
from ucluster_tune.search.events import (
    EpochEnded,
    Event,
    FinalOutcome,
    TrialEnded,
    TrialStarted,
    Value,
)
from ucluster_tune.search.journal import StudyJournal
from ucluster_tune.search.observers import Observer
from ucluster_tune.search.paths import StudyPaths, replace_file
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.tracking import Tracker
from ucluster_tune.training.record import RECORD_FIELDS
from ucluster_tune.trial.single import study_of_one

_LOGGER = logging.getLogger(__name__)
_LEAST_FREE_BYTES = 1 << 20
DrawPictures = Callable[[Path, Path], list[Path]]


class StudyDriver(tune.Callback):
    """Tune's callback; keeps the books of a study.

    Args:
        config: of the study.
        paths: its files.
        journal: open, with `study_started` in it.
        record: the state that the journal tells.
        tracker: open.
        observers: told of every event.
        draw_pictures: draws an evaluation file into a folder, returns the pictures' paths.
    """

    def __init__(
        self,
        config: StudyConfig,
        paths: StudyPaths,
        journal: StudyJournal,
        record: StudyRecord,
        tracker: Tracker,
        observers: Sequence[Observer],
        draw_pictures: DrawPictures,
    ) -> None:
        self.config, self.paths, self.record = config, paths, record
        self.is_interrupted = False
        self._in_epoch: set[str] = set()
        self._journal, self._tracker = journal, tracker
        self._observers, self._draw_pictures = observers, draw_pictures

    @property
    def is_in_epoch(self) -> bool:
        """Whether a trial runs whose workers have started."""
        return bool(self._in_epoch)

    def tell_start(self) -> None:
        """Tell the observers that the study began."""
        for observer in self._observers:
            observer.on_study_start(self.config, self.record)

    def tell_end(self) -> None:
        """Tell the observers that the study ended."""
        for observer in self._observers:
            observer.on_study_end(self.record)

    def note(self, event: Event) -> None:
        """Write an event to the journal, take it into the record, tell the observers."""
        self._journal.append(event)
        self.record.apply(event)
        _LOGGER.info("%s", event.line())
        for observer in self._observers:
            observer.on_event(event, self.record)

    def begin_trial(
        self, trial_id: str, hyperparameters: dict[str, Value]
    ) -> dict[str, Any] | None:
        """Return Tune's configuration of a new trial; None where it would not be a legal one."""
        files = self.paths.trial(trial_id)
        run_id = self._tracker.start_trial(self.record.run_id, trial_id, hyperparameters)
        self.note(TrialStarted(trial=trial_id, hyperparameters=hyperparameters, run_id=run_id))
        try:
            config = trial_config(self.config, hyperparameters)
        except ConfigurationError as error:
            self._end_trial(trial_id, "failed", str(error))
            return None
        files.root.mkdir(parents=True, exist_ok=True)
        replace_file(files.config, dump_config(study_of_one(self.config, config)))
        self._tell_mlflow(self._tracker.log_artifacts, run_id, files.config)
        return {
            "trial_id": trial_id,
            "trial_config": config.model_dump(mode="json"),
            "trial_folder": str(files.root),
            "resources": self.config.resources.model_dump(mode="json"),
            "objective": self.config.objective.model_dump(mode="json"),
        }

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial's workers have started."""
        del iteration, trials, info
        self._in_epoch.add(trial.config["trial_id"])

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Take in an epoch."""
        del iteration, trials, info
        trial_id = trial.config["trial_id"]
        epoch = {name: result[name] for name in RECORD_FIELDS}
        self.note(EpochEnded(trial=trial_id, record=epoch))
        run_id = self.record.trials[trial_id].run_id
        self._tell_mlflow(self._tracker.log_epoch, run_id, epoch, self.config.reference.accuracy)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial ended, at its last epoch or because Tune stopped it."""
        del iteration, trials, info
        state = self.record.trials[trial.config["trial_id"]]
        if state.epochs >= state.n_epochs:
            self._end_trial(state.id, "complete")
        elif self.is_interrupted or state.epochs == 0:
            self._end_trial(state.id, "interrupted", "the search was interrupted")
        else:
            self._end_trial(state.id, "stopped_early", f"stopped by {self.config.scheduler.name}")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial failed."""
        del iteration, trials, info
        self._end_trial(trial.config["trial_id"], "failed", failure_cause(trial))
        if shutil.disk_usage(self.paths.root).free < _LEAST_FREE_BYTES:
            raise StudyError(  # or every trial to come fails for the same cause
                f"{self.paths.root}: the disk is full: make room, all up to here is kept"
            )

    def end_running_trials(self, cause: str) -> None:
        """Mark all trials that still run as interrupted."""
        for trial_id in list(self.record.running):
            self._end_trial(trial_id, "interrupted", cause)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}

    def _end_trial(self, trial_id: str, outcome: FinalOutcome, cause: str | None = None) -> None:
        self._in_epoch.discard(trial_id)
        state = self.record.trials[trial_id]
        if state.outcome != "running":
            return
        self.note(TrialEnded(trial=trial_id, outcome=outcome, cause=cause, epochs=state.epochs))
        if outcome == "failed":
            _LOGGER.error("trial %s failed: %s", trial_id, cause)
        self._log_best_epoch(trial_id)
        self._tell_mlflow(self._tracker.end_trial, state.run_id, outcome, cause)

    def _tell_mlflow(self, send: Callable[..., None], *arguments: Any) -> None:
        """Send to MLflow; a store that fails must not end a search, whose record is elsewhere."""
        try:
            send(*arguments)
        except StudyError as error:
            _LOGGER.error("MLflow is behind the record: %s", error)

    def _log_best_epoch(self, trial_id: str) -> None:
        """Draw the trial's best epoch; a picture that fails must not end a search."""
        state, files = self.record.trials[trial_id], self.paths.trial(trial_id)
        if state.best_epoch is None:
            return
        try:
            self._draw_pictures(files.evaluation(state.best_epoch), files.pictures)
            self._tracker.log_artifacts(state.run_id, files.pictures, artifact_path="best_epoch")
        except (UClusterTuneError, OSError) as error:
            _LOGGER.warning("trial %s: no pictures of its best epoch: %s", trial_id, error)


def failure_cause(trial: Trial) -> str:
    """Return why a trial failed: a worker's own message, or the traceback that Tune keeps."""
    # Not trial.get_error(): it reads Tune's copies of these files, which are made later.
    pickled, text = Path(trial.pickled_error_file), Path(trial.error_file)
    error = cloudpickle.loads(pickled.read_bytes()) if pickled.exists() else None
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UClusterTuneError):
        return str(cause)
    return text.read_text(encoding="utf-8") if text.exists() else str(error or "unknown")
