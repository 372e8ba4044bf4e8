"""Where everything that happens in a study goes through: journal, then record, then observers.

An event that the journal did not take has not happened: nobody else hears of it.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import Event
from ucluster_tune.study.record import StudyRecord

_LOGGER = logging.getLogger(__name__)


class Observer(Protocol):
    """Follows a study's record."""

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Take in that an event happened; journal and record have it already."""


class Viewer(Observer, Protocol):
    """Shows a search while it runs."""

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Take in that the search began."""

    def on_study_end(self, record: StudyRecord) -> None:
        """Take in that the search ended: nothing more will happen."""


class Journal(Protocol):
    """Keeps events."""

    def append(self, event: Event) -> None:
        """Keep one event; StudyError where it cannot."""


class RecordKeeper:
    """Keeps a study's record, in whatever thread an event comes.

    Args:
        journal: open, with all that the record has.
        record: the state that the journal tells.
        observers: told of every event, in this order.

    Attributes:
        lock: held while journal and record change; whoever reads the record in another thread
            takes it.
        fatal: what the study cannot go on after: its storage is full, read-only or gone.
    """

    def __init__(
        self, journal: Journal, record: StudyRecord, observers: Sequence[Observer] = ()
    ) -> None:
        self.record = record
        self.lock = threading.RLock()
        self.fatal: StudyError | None = None
        self._journal = journal
        self._observers = list(observers)

    def tell(self, observer: Observer) -> None:
        """Tell one more observer of every event from now on."""
        self._observers.append(observer)

    def note(self, event: Event) -> None:
        """Write an event to the journal, take it into the record, tell the observers."""
        with self.lock:
            try:
                self._journal.append(event)
            except StudyError as error:
                raise self.end_for(str(error)) from error
            self.record.apply(event)
            _LOGGER.info("%s", event.line())
            for observer in self._observers:
                observer.on_event(event, self.record)

    def end_for(self, cause: str) -> StudyError:
        """Return what the study ends for: the first such cause, since others follow from it."""
        if self.fatal is None:
            verb = "confirm" if self.record.is_confirming else "resume"
            self.fatal = StudyError(
                f"{cause}. Then carry the study on with `ucluster-tune {verb} {self.record.name}`"
            )
        return self.fatal

    def refuse_fatal(self) -> None:
        """Raise what the study cannot go on after, where there is such a thing."""
        if self.fatal is not None:
            raise self.fatal
