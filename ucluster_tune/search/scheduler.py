"""Which running trials Tune stops early.

ASHA judges a trial when it reaches a rung (grace_period * reduction_factor^k epochs) by its
objective at that epoch. Tune marks a trial that ASHA stopped as `done`, as it does one that came
to its end: only the number of its last epoch tells them apart. The last epoch is never judged,
since a trainable that reports `done` there ends before the scheduler is asked.

The rungs of a study that is resumed are filled by playing its epochs again, in their order.

What Tune does at every report with all trials that there ever were is done here with those that
matter, so that a report costs the same after thousands of trials.
"""

import math
from bisect import insort
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.search_space import corners
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.study.knowledge import JudgedEpoch

_WAITING = (Trial.PENDING, Trial.PAUSED)


class EndsTrials(TrialScheduler):
    """A scheduler through which others end a trial, since Tune tells it who runs the trials."""

    _controller: Any = None

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the oldest trial that waits to run, None where none does."""
        # Tune's own looks at all trials that ever were, several times a second.
        waiting = [t for t in tune_controller.get_live_trials() if t.status in _WAITING]
        return min(waiting, key=_age, default=None)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in a trial."""
        self._controller = tune_controller
        super().on_trial_add(tune_controller, trial)

    def end_trial(self, trial: Any) -> None:
        """Have Tune end a trial that it was about to start again."""
        self._controller.stop_trial(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but who runs the trials: Tune pickles a search's settings."""
        return {name: value for name, value in vars(self).items() if name != "_controller"}


class _Unjudging(EndsTrials, FIFOScheduler):
    """Stops no trial early."""


class _RestoredASHA(EndsTrials, ASHAScheduler):
    """ASHA that knows the epochs before its time, and what it decided then."""

    def __init__(self, history: Iterable[JudgedEpoch], **settings: Any) -> None:
        super().__init__(**settings)
        self._to_stop: set[str] = set()
        bracket: Any
        for bracket in self._brackets:
            bracket._rungs = [(epoch, Rung()) for epoch, _ in bracket._rungs]
            share = 1 - 1 / bracket.rf
            bracket.cutoff = partial(Rung.percentile, share=share)
        for past in history:
            if past.value is not None:
                self._play(past.trial_id, past.epoch, past.value)

    def _play(self, trial_id: str, epoch: int, value: float) -> None:
        (bracket,) = self._brackets
        named: Any = SimpleNamespace(trial_id=trial_id)
        decision = bracket.on_result(named, epoch, (self._metric_op or 1.0) * value)
        if decision == TrialScheduler.STOP:
            self._to_stop.add(trial_id)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in a trial."""
        super().on_trial_add(tune_controller, _named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether a trial goes on; one that was to be stopped does not."""
        if trial.config["trial_id"] in self._to_stop:
            return TrialScheduler.STOP
        return str(super().on_trial_result(tune_controller, _named(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take in a trial's end."""
        super().on_trial_complete(tune_controller, _named(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial."""
        super().on_trial_remove(tune_controller, _named(trial))


class Rung(dict[str, float]):
    """The objective of each trial that came to a rung, which also stands there in order.

    >>> rung = Rung()
    >>> rung["0001"], rung["0002"], rung["0003"] = 0.3, 0.1, 0.2
    >>> rung.percentile(0.75)
    0.25
    """

    def __init__(self) -> None:
        super().__init__()
        self._ordered: list[float] = []

    def __setitem__(self, trial_id: str, value: float) -> None:
        super().__setitem__(trial_id, value)  # ASHA never changes one that is there
        if not math.isnan(value):
            insort(self._ordered, value)

    def percentile(self, share: float) -> float | None:
        """Return the value below which a share of them lies, as NumPy's does between two of them.

        None where there is no value; one that is not a number does not count.
        """
        if not self._ordered:
            return None
        place = share * (len(self._ordered) - 1)
        below = self._ordered[math.floor(place)]
        above = self._ordered[math.ceil(place)]
        return below + (above - below) * (place % 1)


def _age(trial: Any) -> tuple[int, str]:
    """Return what orders trials by their ids, of which those after 9999 are longer."""
    trial_id = trial.config["trial_id"]
    return len(trial_id), trial_id


def _named(trial: Any) -> Any:
    """Return a trial as ASHA is to know it: by our id, which stays when Tune starts it again."""
    return SimpleNamespace(trial_id=trial.config["trial_id"])


def build_scheduler(study: StudyConfig, history: Iterable[JudgedEpoch] = ()) -> EndsTrials:
    """Return Tune's scheduler for the study.

    Args:
        study: the configuration.
        history: the study's epochs so far, in the order in which they ended.
    """
    if study.scheduler.name == "none":
        return _Unjudging()  # type: ignore[no-untyped-call]  # Ray's, partly typed
    n_epochs = longest_training(study)
    return _RestoredASHA(
        history,
        time_attr="epoch",  # Tune's own count starts again when a trial does
        metric=study.objective.metric,
        mode=tune_mode(study.objective),
        max_t=n_epochs,
        # A grace period beyond the end stops no trial, which is what one at the end does too.
        grace_period=min(study.scheduler.grace_period, n_epochs),
        reduction_factor=study.scheduler.reduction_factor,
        # With True, ASHA also judges a trial by the lower rungs that it does not know it from.
        stop_last_trials=False,
    )


def tune_mode(objective: ObjectiveConfig) -> Literal["max", "min"]:
    """Return Tune's word for the direction."""
    return "max" if objective.direction == "maximize" else "min"


def longest_training(study: StudyConfig) -> int:
    """Return the most epochs that a trial of the study can have."""
    searched = study.search_space.get("training.n_epochs")
    if searched is None:
        return study.training.n_epochs
    return int(max(corners(searched)))
