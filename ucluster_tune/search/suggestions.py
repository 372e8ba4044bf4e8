"""Ray Tune's view of the sampler: Tune asks for trials here.

In place of Tune's own OptunaSearch, which tells Optuna that a trial stopped early was complete,
and pickles itself. What became of trials is not heard here: the sampler follows the record.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from ucluster_tune.config.points import published_point
from ucluster_tune.search.driver import StudyDriver, key_of
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.study.budget import is_left
from ucluster_tune.study.confirming import known_trainings
from ucluster_tune.study.record import trial_number_to_id

TuneConfig = dict[str, Any]


class Suggestions(Searcher):
    """Gives Tune one configuration a training: those that go on, those that follow, new trials.

    Args:
        sampler: asked; follows the record. None for finalists, which nobody suggests.
        driver: begins the trials; one whose hyperparameters are not legal fails at once.
        room: tells how many trials may run at a time; no trial begins while as many run.
    """

    def __init__(
        self, sampler: StudySampler | None, driver: StudyDriver, room: Callable[[], int]
    ) -> None:
        super().__init__()
        self._sampler, self._driver, self._room = sampler, driver, room
        self._interrupted = driver.take_up_interrupted()

    # Ray's annotation leaves out FINISHED, which is text, and None.
    def suggest(self, trial_id: str) -> TuneConfig | str | None:  # type: ignore[override]
        """Return the next trial's configuration, FINISHED, or None where it has to wait.

        Args:
            trial_id: Tune's own.
        """
        driver, record = self._driver, self._driver.record
        if len(record.running_trainings) - len(driver.begun) >= self._room():
            return None
        while self._interrupted and not driver.is_interrupted:
            config = driver.resume_trial(self._interrupted.pop(0))
            if config is not None:
                return config
        while driver.begun and not driver.is_interrupted:
            config = driver.next_begun()
            if config is not None:
                return config
        return self._new_trial()

    def _new_trial(self) -> TuneConfig | str | None:
        driver, record = self._driver, self._driver.record
        assert self._sampler is not None
        while not driver.is_interrupted and is_left(record):
            our_id = trial_number_to_id(len(record.trials) + 1)
            config = driver.begin_trial(our_id, self._sampler.ask(our_id))
            if config is not None:
                return config
        if driver.may_begin_more and not driver.is_interrupted:
            return None
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Do nothing: the sampler follows the record."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the sampler follows the record."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is what a search goes on from."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}


class Finalists(Suggestions):
    """Gives Tune the trainings of the study's open confirmation, those that go on first.

    Args:
        sampler: not asked.
        driver: begins the trainings.
        room: as of `Suggestions`.
    """

    def __init__(
        self, sampler: StudySampler | None, driver: StudyDriver, room: Callable[[], int]
    ) -> None:
        super().__init__(sampler, driver, room)
        confirmation = driver.record.open_confirmation
        assert confirmation is not None, "planned before trainings are asked for"
        self._left = confirmation.plan.trainings()
        known = known_trainings(driver.record, confirmation.plan)
        self._interrupted = [
            key_of(trial, plan.id)
            for trial, plan in self._left
            if (found := known.get((trial, plan.id))) and found.outcome == "interrupted"
        ]
        self._left = [(trial, plan) for trial, plan in self._left if (trial, plan.id) not in known]

    def _new_trial(self) -> TuneConfig | str:
        driver = self._driver
        while self._left and not driver.is_interrupted:
            trial, plan = self._left.pop(0)
            config = driver.begin_training(trial, published_point(driver.config), plan)
            if config is not None:
                return config
        return str(Searcher.FINISHED)
