"""When the machines that a search runs on are taken away, and when to stop for that."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ucluster_tune.study.record import StudyRecord

SLURM_END: Final = "SLURM_JOB_END_TIME"  # set in every job since Slurm 22.05, Unix seconds
_TO_CLOSE_S: Final = 90.0  # the books: MLflow, the report, checkpoints on slow disks
_OF_AN_EPOCH: Final = 1.5  # one may be slower than the last


@dataclass(frozen=True)
class Allocation:
    """The time for which there are machines.

    Attributes:
        ends: aware of its time zone.
        source: who says so.
    """

    ends: datetime
    source: str

    def cause_to_stop(self, record: StudyRecord, now: datetime | None = None) -> str | None:
        """Return why a search ends now, None while another epoch of each trial has time.

        Args:
            record: of the study, whose running trials tell how long an epoch takes.
            now: for tests.
        """
        last = [
            trial.records[-1].value("seconds") or 0.0
            for trial in record.running.values()
            if trial.records
        ]
        needed = timedelta(seconds=_TO_CLOSE_S + _OF_AN_EPOCH * max(last, default=0.0))
        if (now or datetime.now(UTC)) + needed < self.ends:
            return None
        told = self.ends.astimezone().strftime("%Y-%m-%d %H:%M")
        return f"the allocation ends at {told} ({self.source})"


def allocation_of(
    until: datetime | None, environment: Mapping[str, str] = os.environ
) -> Allocation | None:
    """Return the time that is left: as the user says, else as Slurm does; None for all time.

    >>> allocation_of(None, {SLURM_END: "1798761600"}).ends.isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    if until is not None:
        return Allocation(until, "--until")
    told = environment.get(SLURM_END, "")
    if not told.isdecimal():
        return None
    return Allocation(datetime.fromtimestamp(int(told), UTC), SLURM_END)
