"""Every trial goes to its last epoch."""

from ucluster_tune.search.schedulers.decision import Decision
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState


class StopNone:
    """A judge that stops no trial."""

    def decide(self, record: StudyRecord, trial: TrialState, epoch: int) -> Decision:
        """Return that the trial goes on."""
        del record, trial, epoch
        return Decision.GO_ON
