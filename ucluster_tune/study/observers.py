"""What may watch a search."""

from typing import Protocol

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.study.events import Event
from ucluster_tune.study.record import StudyRecord


class Observer(Protocol):
    """Told of each event once it is in the journal and in the record."""

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Return the study began."""

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Take in that an event happened."""

    def on_study_end(self, record: StudyRecord) -> None:
        """Return the study ended, and nothing more will happen."""
