"""Ray Tune runs the trials of a study; the one place that puts Tune's parts together."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune

from ucluster_tune.config.budget import MOST_TRIALS
from ucluster_tune.config.search_space import published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.study.knowledge import JudgedEpoch, known_trials
from ucluster_tune.study.paths import remove_folder
from ucluster_tune.study.stopping import read_stop_request
from ucluster_tune.tracking.dashboards.stores import dashboard_store
from ucluster_tune.trial.resources import placement
from ucluster_tune.trial.trainable import UClusterTrainable

Say = Callable[[str], None]
_LOOK_EVERY_S = 1.0


def run_trials(
    config: StudyConfig,
    driver: StudyDriver,
    history: Iterable[JudgedEpoch],
    room: Callable[[], int],
    say: Say,
    refuse_dead_ray: Callable[[], None],
    trainable: type[tune.Trainable] = UClusterTrainable,
) -> None:
    """Let Tune run all trials, or until the first signal or wish to stop.

    Args:
        config: of the study.
        driver: told of all that happens; its record has the trials so far.
        history: the epochs so far, in the order in which they ended.
        room: tells how many trials may run at a time.
        say: shows one line.
        refuse_dead_ray: raises MachineError when there is no Ray any more.
        trainable: what Tune runs; another one serves to measure the search alone.

    Raises:
        MachineError: Ray ended.
        StudyError: the study's storage takes nothing any more.
        KeyboardInterrupt: at the second signal, or where `stop` says at once.
    """
    record, paths = driver.record, driver.paths
    sampler = StudySampler(
        config,
        name=paths.name,
        published_point=published_point(config),
        dashboards=dashboard_store(config.tracking, paths, record.study_id),
        known=known_trials(record, config.objective),
        warm_start=record.warm_start.trials if record.warm_start else (),
    )
    if record.trials or record.warm_start:
        say(f"Suggestions: {sampler.describe()}")
    suggestions = OptunaSuggestions(
        sampler,
        config.objective,
        len(record.trials),
        driver.may_begin,
        driver.begin_trial,
        lambda: driver.is_interrupted,
        interrupted=[t for t in record.trials.values() if t.outcome == "interrupted"],
        resume_trial=driver.resume_trial,
        has_failed=driver.has_failed,
        room=room,
    )
    scheduler = build_scheduler(config, history)
    driver.give_up = scheduler.end_trial
    remove_folder(paths.ray)  # nothing of Tune's own is ever read again
    tuner = tune.Tuner(
        tune.with_resources(trainable, placement(config.resources)),
        tune_config=tune.TuneConfig(
            search_alg=suggestions,
            scheduler=scheduler,
            num_samples=-1,
            # So many Tune asks for; fewer run where `room` says so.
            max_concurrent_trials=config.resources.max_concurrent_trials
            or config.budget.n_trials
            or MOST_TRIALS,
            trial_name_creator=lambda trial: str(trial.config["trial_id"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
        ),
        run_config=tune.RunConfig(
            name=paths.ray.name,
            storage_path=str(paths.root),
            callbacks=[driver],
            stop=_StopAtSignal(driver, say, refuse_dead_ray),
            failure_config=tune.FailureConfig(max_failures=-1),  # the driver has the limit
            # The workers keep the trials' checkpoints; Tune would keep another one at each end.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        with _signals(driver):
            tuner.fit()
        driver.refuse_fatal()
    finally:
        suggestions.interrupt()
        sampler.close()


class _StopAtSignal(tune.Stopper):
    """Ends the search once it is asked to; running epochs are finished, and recorded, first."""

    def __init__(self, driver: StudyDriver, say: Say, refuse_dead_ray: Callable[[], None]) -> None:
        self._driver, self._say, self._refuse_dead_ray = driver, say, refuse_dead_ray
        self._has_told = False
        self._look_at = 0.0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial ends with the epoch that it has just finished."""
        return self._driver.is_interrupted

    def stop_all(self) -> bool:
        """Return whether the search ends now; Tune asks several times a second."""
        self._driver.refuse_fatal()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            self._refuse_dead_ray()
            request = read_stop_request(self._driver.paths)
            if request == "now":
                raise KeyboardInterrupt
            if request is not None:
                self._driver.is_interrupted = True
        if self._driver.is_interrupted and not self._has_told:
            self._has_told = True
            self._say("Stopping after the running epochs; Ctrl-C again stops at once")
        return self._driver.is_interrupted and not self._driver.is_in_epoch

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}


@contextmanager
def _signals(driver: StudyDriver) -> Iterator[None]:
    """Take the first SIGINT or SIGTERM as a wish to stop in order, the second as one to stop."""

    def handle(_number: int, _frame: object) -> None:
        if driver.is_interrupted:
            raise KeyboardInterrupt
        driver.is_interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
