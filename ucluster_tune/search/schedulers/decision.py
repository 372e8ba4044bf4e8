"""What may become of a trial after an epoch, and who says so; knows nothing of Ray."""

from enum import Enum
from typing import Protocol

from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState


class Decision(Enum):
    """What becomes of a trial after an epoch."""

    GO_ON = "go_on"
    PAUSE = "pause"
    STOP = "stop"


class Judge(Protocol):
    """Decides by the record alone, so that it says the same whenever it is asked again."""

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Decision:
        """Return what becomes of a trial of the record after one of its epochs."""


def verdict_so_far(judge: Judge, record: StudyRecord, trial: TrialState) -> Decision:
    """Return what becomes of a trial after all of its epochs: of one that a driver before left."""
    decisions = (judge.decide(record, trial, epoch.epoch) for epoch in trial.records)
    return next((told for told in decisions if told is not Decision.GO_ON), Decision.GO_ON)
