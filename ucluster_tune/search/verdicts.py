"""Ray Tune's scheduler of a study: it looks up what the judge decided, and decides nothing."""

from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.schedulers.decision import Decision, GoOnAs

_WAITING: Final = (Trial.PENDING, Trial.PAUSED)
_IN_TUNES_WORDS: Final = {
    Decision.GO_ON: TrialScheduler.CONTINUE,
    Decision.PAUSE: TrialScheduler.PAUSE,
    Decision.STOP: TrialScheduler.STOP,
}


class Verdicts(FIFOScheduler):
    """Tells Tune which trials go on.

    What Tune does at every report with all trials that there ever were is done here with those
    that matter, so that a report costs the same after thousands of trials.

    Args:
        driver: keeps the verdicts.
    """

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's, partly typed
        self._driver = driver
        self._controller: Any = None

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the oldest trial that waits to run, None where none does."""
        # Tune's own looks at all trials that ever were, several times a second.
        waiting = [t for t in tune_controller.get_live_trials() if t.status in _WAITING]
        return min(waiting, key=_age, default=None)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in who runs the trials."""
        del trial
        self._controller = tune_controller

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return what becomes of a trial, whose result the driver has heard before."""
        del tune_controller, result
        verdict = self._driver.verdict(trial.config["trial_id"])
        # A trial that goes on as another training is another one to Tune.
        return TrialScheduler.STOP if isinstance(verdict, GoOnAs) else _IN_TUNES_WORDS[verdict]

    def begin_again(self, trial: Any) -> bool:
        """Have Tune place a trial anew whose process was lost before it took the trial in.

        Such a process had run another trial and waited for the next one. Tune (2.60) tells its
        loss twice, the second time as the end of the trial that waits, and keeps the trial as one
        that a process is about to take in.

        Returns:
            Whether it was lost so.
        """
        taken_in = self._controller._tune_controller._resetting_trials
        if trial not in taken_in:
            return False
        taken_in.discard(trial)
        self._controller._set_trial_status(trial, Trial.PAUSED)  # passed over the second time
        return True

    def end_trial(self, trial: Any) -> None:
        """Have Tune end a trial that it was about to start again."""
        self._controller.stop_trial(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}


def _age(trial: Any) -> tuple[int, str]:
    """Return what orders trials by their ids, of which those after 9999 are longer."""
    trial_id = trial.config["trial_id"]
    return len(trial_id), trial_id
