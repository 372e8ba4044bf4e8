"""Ray Tune runs the trials of a study; the one place that puts Tune's parts together."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune

from ucluster_tune.config.search_space import published_point
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.trial.resources import placement
from ucluster_tune.trial.trainable import UClusterTrainable

Say = Callable[[str], None]


def run_trials(config: StudyConfig, driver: StudyDriver, n_concurrent: int, say: Say) -> None:
    """Let Tune run all trials, or until the first signal.

    Args:
        config: of the study.
        driver: told of all that happens.
        n_concurrent: trials at a time.
        say: shows one line.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    sampler = StudySampler(
        config,
        name=driver.paths.name,
        published_point=published_point(config),
        database=driver.paths.optuna_db,
    )
    suggestions = OptunaSuggestions(
        sampler,
        config.objective,
        config.budget.n_trials,
        driver.begin_trial,
        lambda: driver.is_interrupted,
    )
    tuner = tune.Tuner(
        tune.with_resources(UClusterTrainable, placement(config.resources)),
        tune_config=tune.TuneConfig(
            search_alg=suggestions,
            scheduler=build_scheduler(config),
            num_samples=-1,
            max_concurrent_trials=n_concurrent,
            trial_name_creator=lambda trial: str(trial.config["trial_id"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
        ),
        run_config=tune.RunConfig(
            name=driver.paths.ray.name,
            storage_path=str(driver.paths.root),
            callbacks=[driver],
            stop=_StopAtSignal(driver, say),
            verbose=0,
        ),
    )
    with _signals(driver):
        tuner.fit()
    suggestions.interrupt()
    sampler.close()


class _StopAtSignal(tune.Stopper):
    """Ends the search once a signal came; running epochs are finished, and recorded, first."""

    def __init__(self, driver: StudyDriver, say: Say) -> None:
        self._driver, self._say = driver, say
        self._has_told = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial ends with the epoch that it has just finished."""
        return self._driver.is_interrupted

    def stop_all(self) -> bool:
        """Return whether the search ends now; Tune asks several times a second."""
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
