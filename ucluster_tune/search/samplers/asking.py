"""Suggestions by Optuna, which learns by following the study's record; knows nothing of Ray.

The study that Optuna works on is in memory. It holds nothing that the record does not, and is
built anew from it where an epoch was run again with another result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from ucluster_tune.config.automatic import chosen_sampler
from ucluster_tune.config.points import SearchSpace
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.samplers import build_sampler
from ucluster_tune.search.samplers.prior import PRIOR, Prior
from ucluster_tune.study.events import EpochEnded, Event, KnownTrial, TrialEnded
from ucluster_tune.study.knowledge import known_trial, known_trials
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import Outcome, Value
from ucluster_tune.tracking.dashboards.optuna_trials import (
    NOISE,
    OF_ANOTHER_STUDY,
    TRIAL,
    build_distributions,
    optuna_trial,
    told_outcome,
)

_TEACHING = ("complete", "stopped_early")
_MOST_DRAWN = 1000  # in vain, for one trial
_FIXED = "fixed_params"  # Optuna's own word for a suggestion that was given to it


@dataclass(frozen=True)
class Suggestion:
    """A new trial's hyperparameters, and what the sampler wants to be kept with them.

    Attributes:
        hyperparameters: by dotted name.
        attributes: of Optuna; plain values.
    """

    hyperparameters: dict[str, Value]
    attributes: dict[str, Any]


class StudySampler:
    """Suggests hyperparameters, knowing every trial of the record; an observer of it.

    A suggestion depends on the seed, the trial's number and the trials told before it, not on
    how often the program was started.

    Args:
        study: the configuration: search space, objective, sampler.
        record: the trials so far.
        published_point: the first suggestion, when the configuration asks for it; those of
            `sampler.try_first` come after it.
    """

    def __init__(
        self,
        study: StudyConfig,
        record: StudyRecord,
        published_point: Mapping[str, Value] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = study
        taught = record.warm_start.trials if record.warm_start else ()
        self._chosen = chosen_sampler(study, len(taught))
        self._space = SearchSpace(study)
        self._prior = Prior(study)
        self._distributions = build_distributions(study.search_space)
        self._first_points = [dict(point) for point in study.sampler.try_first]
        if (
            published_point is not None
            and study.sampler.published_first
            and self._space.allows(published_point)
        ):
            self._first_points.insert(0, dict(published_point))
        self._learn_anew(record)

    def _learn_anew(self, record: StudyRecord) -> None:
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._memory, directions=self._config.objective.directions
        )
        self._trials: dict[str, optuna.Trial] = {}
        self._n_asked = self._n_told = 0
        for trial in record.warm_start.trials if record.warm_start else ():
            self._add(optuna_trial(trial, self._distributions, {OF_ANOTHER_STUDY: True}))
        for trial in known_trials(record, self._config.objective):
            number = self._add(optuna_trial(trial, self._distributions))
            self._n_asked += 1
            if trial.outcome == "running":
                self._trials[trial.id] = optuna.Trial(self._study, number)

    def _add(self, frozen: optuna.trial.FrozenTrial) -> int:
        self._n_told += frozen.state in (TrialState.COMPLETE, TrialState.PRUNED)
        return self._memory.create_new_trial(self._study._study_id, frozen)

    def describe(self) -> str:
        """Return which sampler suggests and from how many trials it has learnt.

        Complete trials and those stopped early count.
        """
        name, reason = self._chosen
        why = f" ({reason})" if self._config.sampler.name == "auto" else ""
        return f"{name} sampler{why}, {self._n_told} trials known"

    def ask(self, trial_id: str) -> Suggestion:
        """Return the hyperparameters of a new trial.

        One that breaks a constraint is drawn again, with a seed of its own: it teaches nothing.
        """
        number, self._n_asked = self._n_asked, self._n_asked + 1
        for attempt in range(_MOST_DRAWN):
            is_prior = self._suggest_beforehand(number, attempt)
            self._study.sampler = build_sampler(self._chosen.name, self._config, number, attempt)
            trial = self._study.ask()
            point, values = self._space.draw(partial(self._value, trial))
            if self._space.broken(values) is None or attempt == _MOST_DRAWN - 1:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        trial.set_user_attr(TRIAL, trial_id)
        if is_prior is not None:
            self._memory.set_trial_system_attr(trial._trial_id, PRIOR, is_prior)
        self._trials[trial_id] = trial
        kept = self._memory.get_trial(trial._trial_id).system_attrs
        attributes = {name: value for name, value in kept.items() if name != _FIXED}
        return Suggestion(point, attributes)

    def _suggest_beforehand(self, number: int, attempt: int) -> bool | None:
        """Give Optuna what is not for the sampler to choose: first points, what a prior draws.

        Returns:
            Whether a prior draws; None where it has no say.
        """
        place = number - len(self._first_points)
        if place < 0:
            self._study.enqueue_trial(self._first_points[number])
        if place < 0 or self._chosen.name == "grid" or not self._prior.counts(place):
            return None
        drawn = self._prior.draw(place, attempt, self._study.get_trials(deepcopy=False))
        if drawn:
            self._study.enqueue_trial(drawn)
        return bool(drawn)

    def _value(self, trial: optuna.Trial, path: str) -> Value:
        value: Value = trial._suggest(path, self._distributions[path])
        return value

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Learn from what happened to a trial; only its trainings of the search teach."""
        if not record.is_searched(event):
            return
        if isinstance(event, EpochEnded) and record.is_on_curve(event):
            self._learn_epoch(event, record)
        elif isinstance(event, TrialEnded) and event.trial in self._trials:
            trial = record.trials[event.trial]
            is_end = trial.n_seeds > 1 or record.is_on_curve(event)
            if is_end and trial.outcome != "running":  # of several seeds others still do
                self._learn_end(known_trial(trial, record.objective), trial.outcome)

    def _learn_epoch(self, event: EpochEnded, record: StudyRecord) -> None:
        trial = self._trials.get(event.trial)
        if trial is None:
            return
        known = self._memory.get_trial(trial._trial_id).intermediate_values
        if known and event.record.epoch <= max(known):
            self._learn_anew(record)
            return
        value = event.record.value(record.objective.metric)
        if value is not None and not record.objective.others:  # Optuna has no such ones of several
            self._memory.set_trial_intermediate_value(trial._trial_id, event.record.epoch, value)

    def _learn_end(self, known: KnownTrial, outcome: Outcome) -> None:
        trial = self._trials.pop(known.id)
        if known.noise is not None:
            trial.set_user_attr(NOISE, known.noise)
        self._n_told += outcome in _TEACHING
        state, values = told_outcome(known.model_copy(update={"outcome": outcome}))
        if state == TrialState.COMPLETE:
            self._study.tell(trial, values)
        else:
            self._study.tell(trial, state=state)

    def what_it_knows(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials as Optuna has them."""
        return self._study.get_trials(deepcopy=False)
