"""The one place where Ray Tune is heard.

Every result of a trial comes to a stopper before Tune asks its scheduler and its searcher, the
last one of a trial too; so what it tells is in the record before anybody decides by it. The begin
and the end of trials come through callbacks.
"""

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ucluster_tune.config.plan import takes_in_words
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.process_loss import failure_of
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.events import seconds_between, utc_now
from ucluster_tune.study.stopping import read_stop_request
from ucluster_tune.trial.processes.nodes import living_node_ids, resources_in_words
from ucluster_tune.trial.trainable import EPOCH, N_RETRIES, NOTE, ResultNote

Say = Callable[[str], None]
_LOOK_EVERY_S = 1.0


class TuneListener(tune.Callback, tune.Stopper):
    """Hears Tune, and passes on to the driver what it hears.

    Args:
        driver: told of all that happens.
        scheduler: has Tune end trials that it was about to start again.
        say: shows one line.
        refuse_dead_ray: raises MachineError when there is no Ray any more.
    """

    def __init__(
        self,
        driver: StudyDriver,
        scheduler: Verdicts,
        say: Say,
        refuse_dead_ray: Callable[[], None],
    ) -> None:
        self._driver, self._scheduler = driver, scheduler
        self._say, self._refuse_dead_ray = say, refuse_dead_ray
        self._ids: dict[str, str] = {}  # of trials in the record, by those of Tune
        self._nodes: dict[str, frozenset[str]] = {}  # that lived when a trial's process began
        self._has_told = self._has_told_of_wait = False
        self._look_at = 0.0

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial's process has started."""
        del iteration, trials, info
        self._driver.keeper.refuse_fatal()
        trial_id = self._ids[trial.trial_id] = trial.config["trial_id"]
        self._driver.place_trial(trial_id)
        self._nodes[trial_id] = living_node_ids()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take in a result; return whether the trial ends with it since the search does.

        Args:
            trial_id: Tune's own.
            result: with an epoch, a note, or both.
        """
        self._driver.keeper.refuse_fatal()
        note = result.get(NOTE) or ResultNote()
        self._driver.take_in(self._ids[trial_id], result.get(EPOCH), note)
        return self._driver.is_interrupted

    def stop_all(self) -> bool:
        """Return whether the search ends now; Tune asks several times a second.

        Running epochs are finished, and recorded, first.
        """
        driver = self._driver
        driver.keeper.refuse_fatal()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            self._refuse_dead_ray()
            self._tell_of_long_wait()
            driver.pause_where_due()
            request = read_stop_request(driver.paths)
            if request == "now":
                raise KeyboardInterrupt
            if request is not None:
                driver.is_interrupted = True
        if driver.is_interrupted and not self._has_told:
            self._has_told = True
            why = f"{driver.pause_cause}: stopping" if driver.pause_cause else "Stopping"
            self._say(f"{why} after the running epochs; Ctrl-C again stops at once")
        return driver.is_interrupted and not driver.is_in_epoch

    def _tell_of_long_wait(self) -> None:
        """Say once where no trial gets its place within the limit of a start."""
        driver = self._driver
        since = [trial.waiting_since for trial in driver.record.running.values()]
        waiting = [start for start in since if start is not None]
        limit_s = driver.config.resources.start_timeout_s
        if driver.is_in_epoch or not waiting or len(waiting) < len(since):
            self._has_told_of_wait = False
        elif not self._has_told_of_wait and seconds_between(min(waiting), utc_now()) > limit_s:
            self._has_told_of_wait = True
            self._say(
                f"No trial has a place after {limit_s:g} s: each takes"
                f" {takes_in_words(driver.config.resources)}, Ray has {resources_in_words()}"
            )

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that a trial ended, at its last epoch or because Tune stopped it."""
        del iteration, trials, info
        self._driver.keeper.refuse_fatal()
        note = (trial.last_result or {}).get(NOTE) or ResultNote()
        self._driver.end_trial(trial.config["trial_id"], note.failure)
        self._ids.pop(trial.trial_id, None)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that Tune starts a trial again, whose process or node was lost.

        Tune itself would do so without end: what is worth another try is decided by the driver.
        """
        del iteration, trials, info
        driver = self._driver
        driver.keeper.refuse_fatal()
        if self._scheduler.begin_again(trial):
            return  # nothing of it was lost
        trial_id = trial.config["trial_id"]
        nodes = self._nodes.get(trial_id, frozenset())
        failure = failure_of(trial, nodes, lambda: driver.is_interrupted)
        n_retries = driver.lose_process(trial_id, failure)
        if n_retries is None:
            self._scheduler.end_trial(trial)
        else:
            trial.config[N_RETRIES] = n_retries

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Take in that Tune gave a trial up."""
        del iteration, trials, info
        self._driver.keeper.refuse_fatal()
        failure = failure_of(trial, frozenset(), lambda: True)
        self._driver.end_trial(trial.config["trial_id"], failure)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}
