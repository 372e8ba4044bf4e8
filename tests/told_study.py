"""A study told event by event to its sampler and its dashboards, without Ray or a journal."""

import threading
from typing import Any

from tests.study_events import epoch, started, trial_ended
from ucluster_tune.config.points import published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.study.events import FinalOutcome, StudyEnded, TrialResumed, TrialStarted
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import DashboardStore


class ToldStudy:
    """One driver's time with a study.

    Args:
        config: of the study.
        record: the trials so far; a new study by default.
        dashboards: where the trials are shown; nowhere by default.
    """

    def __init__(
        self,
        config: StudyConfig,
        record: StudyRecord | None = None,
        dashboards: DashboardStore | None = None,
    ) -> None:
        self.record = record or StudyRecord(started(config))
        self.sampler = StudySampler(config, self.record, published_point(config))
        self.observers: list[Any] = [self.sampler]
        self._dashboards: DashboardCopy | None = None
        if dashboards is not None:
            self._dashboards = DashboardCopy(config, self.record, threading.RLock(), dashboards)
            self.observers.append(self._dashboards)

    def note(self, event: Any) -> None:
        """Take in an event."""
        self.record.apply(event)
        for observer in self.observers:
            observer.on_event(event, self.record)

    def ask(self, trial: str) -> dict[str, Any]:
        """Return the hyperparameters of a trial that begins."""
        suggestion = self.sampler.ask(trial)
        self.note(
            TrialStarted(
                trial=trial,
                hyperparameters=suggestion.hyperparameters,
                sampler_attributes=suggestion.attributes,
            )
        )
        return suggestion.hyperparameters

    def report(self, trial: str, number: int, accuracy: float) -> None:
        """Tell of an epoch."""
        self.note(epoch(trial, number, accuracy))

    def tell(self, trial: str, outcome: FinalOutcome) -> None:
        """Tell of a trial's end."""
        self.note(trial_ended(trial, outcome, self.record.trials[trial].epochs))

    def resume(self, trial: str) -> None:
        """Tell that a trial goes on."""
        self.note(TrialResumed(trial=trial, cause="interrupted"))

    def end(self) -> None:
        """Tell that the driver ends, and bring the dashboards up to date."""
        for trial in list(self.record.running):
            self.tell(trial, "interrupted")
        self.note(StudyEnded(state="interrupted"))
        self.close()

    def close(self) -> None:
        """Bring the dashboards up to date, as they are."""
        if self._dashboards is not None:
            self._dashboards.close()
