"""A search in this process, in no time: all is real but Tune, Ray, workers and training.

What stands for a network is one number, its accuracy, which each epoch brings nearer to 1 by a
part: the learning rate. Checkpoints outlive the driver, as files do.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.search import Searcher

from tests.study_events import epoch, started, study_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.listener import TuneListener
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.events import Event, StudyResumed
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import closing_events
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.trainable import EPOCH, NOTE, ResultNote
from ucluster_tune.trial.training_task import TrainingTask

RATE = {"training.learning_rate": {"type": "float", "low": 0.01, "high": 0.2}}


class KilledError(BaseException):
    """The driver is no more; nothing may catch it."""


class MortalJournal(StudyJournal):
    """A journal whose writer is killed once it has written so many lines."""

    n_left = 10**9

    def append(self, event: Event) -> None:
        """Write an event, unless the end has come."""
        if self.n_left <= 0:
            raise KilledError
        self.n_left -= 1
        super().append(event)


class Training:
    """One training with its checkpoints, of which only those of `kept` are there.

    Args:
        task: what is trained, and where.
        kept: checkpoints of all trainings, an accuracy by folder and epoch.
    """

    def __init__(self, task: TrainingTask, kept: dict[str, dict[int, EpochRecord]]) -> None:
        self._task, self._config = task, task.config
        self._own = kept.setdefault(task.folder, {})
        self._begun = bool(self._own)
        self.epochs, self.accuracy = 0, 0.3
        if self._own:
            self.epochs = max(self._own)
            self.accuracy = self._own[self.epochs].clustering_accuracy
        elif task.start is not None:
            folder, name = task.start.split("/checkpoints/epoch-")
            start = kept[folder][int(name.removesuffix(".ckpt"))]  # KeyError: it was not kept
            self.epochs, self.accuracy = start.epoch, start.clustering_accuracy

    def step(self, run: Callable[[EpochRecord], None]) -> dict[str, Any]:
        """Return what a trainable returns: at first the epoch that it went on from."""
        note = ResultNote()
        if self._begun:
            self._begun, note = False, ResultNote(restored_epoch=self.epochs)
            record = self._own[self.epochs]
        else:
            training = self._config.training
            self.epochs += 1
            gain = training.learning_rate * (1 + 0.1 * (training.seed % 3))
            self.accuracy += gain * (1 - self.accuracy)
            record = epoch("", self.epochs, self.accuracy, learning_rate=gain).record
            self._own[self.epochs] = record
            best = max(self._own.values(), key=lambda r: r.clustering_accuracy).epoch
            last_two = {self.epochs - 1, self.epochs}
            for gone in set(self._own) - last_two - {best} - self._task.kept_epochs:
                del self._own[gone]
            run(record)
            if len(self._own) == 1:
                note = ResultNote(restored_epoch=0)
        is_last = self.epochs >= self._config.training.n_epochs
        return {EPOCH: record, NOTE: note, "done": is_last}


class SimulatedSearch:
    """A study and all its drivers, of which each may be killed.

    Args:
        folder: of all studies.
        room: trainings at a time.
        sections: of the study.

    Attributes:
        epochs_run: by all trainings, those that were run again counted again.
        worlds: the number of workers of each training that was given, by its key.
        taken: workers at a time.
    """

    def __init__(self, folder: Path, room: int = 1, **sections: Any) -> None:
        fields = {"search_space": RATE, "sampler": {"name": "random"}} | sections
        self.config: StudyConfig = study_config(**fields)
        self.room = room
        self.paths = StudiesFolder(folder).study("jets")
        self.paths.trials.mkdir(parents=True)
        self.kept: dict[str, dict[int, EpochRecord]] = {}
        self.epochs_run = 0
        self.n_events = 0
        self.worlds: list[tuple[str, int]] = []
        self.taken: list[int] = []

    def drive(self, n_events: int = 10**9) -> StudyRecord:
        """Drive the study to its end, or until so many lines are written; return its record."""
        is_new = not self.paths.record.exists()
        begun = started(self.config)
        record = StudyRecord(begun) if is_new else read_record(self.paths.record)
        journal = MortalJournal(self.paths.record)
        try:
            for event in [begun] if is_new else closing_events(record):
                journal.append(event)
                if not is_new:
                    record.apply(event)
            if not is_new:
                resumed = StudyResumed(code_version="0", host="here")
                journal.append(resumed)
                record.apply(resumed)
            journal.n_left = n_events
            self._run(RecordKeeper(journal, record))
        except KilledError:
            return read_record(self.paths.record)
        finally:
            self.n_events = n_events - journal.n_left
            journal.close()
        return read_record(self.paths.record)

    def _run(self, keeper: RecordKeeper) -> None:
        driver = StudyDriver(self.config, self.paths, keeper)
        sampler = StudySampler(self.config, keeper.record)
        keeper.tell(sampler)
        suggestions = Suggestions(sampler, driver, lambda: self.room)
        scheduler = Verdicts(driver)
        listener = TuneListener(driver, scheduler, lambda _line: None, lambda: None)
        live: dict[str, tuple[Any, Training]] = {}
        n_given = 0
        while True:
            told: Any = {}
            while isinstance(told, dict):
                n_given += 1
                told = suggestions.suggest(f"tune{n_given}")
                if isinstance(told, dict):
                    trial: Any = SimpleNamespace(  # as much of Tune's trial as is read
                        trial_id=f"tune{n_given}", config=told, last_result=None
                    )
                    live[trial.trial_id] = trial, Training(told["task"], self.kept)
                    self.worlds.append((told["trial_id"], told["resources"].n_workers))
                    listener.on_trial_start(0, [], trial)
            self.taken.append(sum(t.config["resources"].n_workers for t, _ in live.values()))
            assert live or told == Searcher.FINISHED, "nothing runs, and nothing is given"
            if not live:
                return
            for trial, training in list(live.values()):
                trial.last_result = training.step(self._count)
                is_over = listener(trial.trial_id, trial.last_result)
                if not is_over and not trial.last_result["done"]:
                    is_over = scheduler.on_trial_result(None, trial, trial.last_result) == "STOP"
                if is_over or trial.last_result["done"]:
                    del live[trial.trial_id]
                    listener.on_trial_complete(0, [], trial)

    def _count(self, record: EpochRecord) -> None:
        self.epochs_run += 1


def outline(record: StudyRecord) -> dict[str, Any]:
    """What a search has come to, without times: all trainings, and what is told of each trial."""
    return {
        trial.id: {
            "hyperparameters": trial.hyperparameters,
            "outcome": trial.outcome,
            "score": trial.score(record.objective),
            "spread": trial.spread(record.objective.metric),
            "trainings": {
                training.plan.id: (
                    training.plan.model_dump(),
                    training.outcome,
                    [(r.epoch, r.clustering_accuracy) for r in training.records],
                )
                for training in trial.trainings.values()
            },
        }
        for trial in record.trials.values()
    }
