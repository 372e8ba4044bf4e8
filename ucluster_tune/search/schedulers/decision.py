"""What may become of a trial after an epoch, and who says so; knows nothing of Ray."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrainingPlan, TrialState


class Decision(Enum):
    """What becomes of a trial after an epoch."""

    GO_ON = "go_on"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True)
class GoOnAs:
    """The trial's training ends, and the trial goes on as another one, from a checkpoint."""

    plan: TrainingPlan


Verdict = Decision | GoOnAs


class Judge(Protocol):
    """Decides by the record alone, so that it says the same whenever it is asked again."""

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Verdict:
        """Return what becomes of a trial of the record after one of its epochs."""


def verdict_so_far(judge: Judge, record: StudyRecord, trial: TrialState) -> Verdict:
    """Return what becomes of a trial after all epochs of its training that a driver before left.

    What was decided after those of trainings before it has been done.
    """
    decisions = (judge.decide(record, trial, epoch.epoch) for epoch in trial.shown.records)
    return next((told for told in decisions if told is not Decision.GO_ON), Decision.GO_ON)
