"""Suggestions by Optuna, asked and told; knows nothing of Ray or of the journal.

The study that Optuna works on is in memory, and can be built again from the study's own trials.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SamplerConfig,
    StudyConfig,
)
from ucluster_tune.study.events import FinalOutcome, KnownTrial, Outcome, Value
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import DashboardStore

_STATES: dict[Outcome, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "stopped_early": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}
_TEACHING = ("complete", "stopped_early")
_OUTSIDE = "outside_search_space"
_WARM_START = "of_another_study"


class StudySampler:
    """Suggests hyperparameters, knowing every trial of the study that it was told of.

    A suggestion depends on the seed, the trial's number and the trials told before it, not on
    how often the program was started.

    Args:
        study: the configuration: search space, objective, sampler.
        name: the study's name, for dashboards.
        published_point: the first suggestion, when the configuration asks for it.
        dashboards: where the trials are written for dashboards; None writes none.
        known: the study's own trials so far, in order; those with outcome `running` are told
            later what became of them.
        warm_start: trials of another study, from which suggestions learn too.
    """

    def __init__(
        self,
        study: StudyConfig,
        *,
        name: str,
        published_point: Mapping[str, Value] | None = None,
        dashboards: DashboardStore | None = None,
        known: Sequence[KnownTrial] = (),
        warm_start: Sequence[KnownTrial] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = study.sampler
        self._distributions = build_distributions(study.search_space)
        self._n_asked = len(known)
        self._n_told = sum(trial.outcome in _TEACHING for trial in (*known, *warm_start))
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._memory, study_name=name, direction=study.objective.direction
        )
        self._trials: dict[str, optuna.Trial] = {}
        self._copy = DashboardCopy(self._study, dashboards) if dashboards else None
        for trial in warm_start:
            self._add(trial, {_WARM_START: True})
        for trial in known:
            self._add(trial)
        if study.sampler.published_first and published_point is not None and not known:
            self._study.enqueue_trial(dict(published_point))

    def describe(self) -> str:
        """Return which sampler suggests and from how many trials it has learnt.

        Complete trials and those stopped early count.
        """
        return f"{self._config.name} sampler, {self._n_told} trials known"

    def ask(self, trial_id: str) -> dict[str, Value]:
        """Return the hyperparameters of a new trial, by dotted name."""
        self._study.sampler = build_sampler(self._config, self._n_asked)
        self._n_asked += 1
        trial = self._study.ask(self._distributions)
        trial.set_user_attr("trial", trial_id)
        self._trials[trial_id] = trial
        self._update_copy(trial)
        return dict(trial.params)

    def report(self, trial_id: str, epoch: int, value: float) -> None:
        """Tells the objective after an epoch; a value that is not finite is left out."""
        if np.isfinite(value):
            trial = self._trials[trial_id]
            trial.report(value, epoch)
            self._update_copy(trial)

    def tell(self, trial_id: str, outcome: FinalOutcome, score: float | None = None) -> None:
        """Tells a trial's end.

        A complete trial counts with its score; one stopped early as pruned, with the values
        reported; failed and interrupted ones teach Optuna nothing.
        """
        trial = self._trials.pop(trial_id)
        self._n_told += outcome in _TEACHING
        if outcome == "complete" and score is not None and np.isfinite(score):
            self._study.tell(trial, score)
        elif outcome == "stopped_early":
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)
        self._update_copy(trial)

    def close(self) -> None:
        """Brings the dashboards' store up to date, where that is possible."""
        if self._copy:
            self._copy.close()

    def _add(self, known: KnownTrial, attributes: Mapping[str, Any] | None = None) -> None:
        """Add a trial that was suggested before this process began.

        A value that is outside of the search space, which an extension may have narrowed, is
        kept as an attribute: the sampler learns from the trial's other values.
        """
        state = _STATES[known.outcome]
        inside: dict[str, Value] = {}
        outside: dict[str, Value] = {}
        if known.outcome == "complete" and known.score is None:
            state = TrialState.FAIL
        for name, value in known.hyperparameters.items():
            distribution = self._distributions.get(name)
            is_inside = distribution is not None and contains(distribution, value)
            (inside if is_inside else outside)[name] = value
        frozen = create_trial(
            state=state,
            value=_optuna_value(known, state),
            params=inside,
            distributions={name: self._distributions[name] for name in inside},
            user_attrs={
                "trial": known.id,
                **({_OUTSIDE: outside} if outside else {}),
                **(attributes or {}),
            },
            intermediate_values=known.values,
        )
        trial_id = self._memory.create_new_trial(self._study._study_id, frozen)
        if known.outcome == "running":
            self._trials[known.id] = optuna.Trial(self._study, trial_id)
        if self._copy:
            self._copy.add(self._memory.get_trial(trial_id))

    def _update_copy(self, trial: optuna.Trial) -> None:
        if self._copy:
            self._copy.update(self._memory.get_trial(trial._trial_id))


def _optuna_value(known: KnownTrial, state: TrialState) -> float | None:
    """Return a trial's value as Optuna has it: that of its last report where it was pruned."""
    if state == TrialState.COMPLETE:
        return known.score
    if state == TrialState.PRUNED and known.values:
        return known.values[max(known.values)]
    return None


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Return whether a value is one that the distribution can give."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def build_sampler(config: SamplerConfig, number: int) -> BaseSampler:
    """Return the sampler of one suggestion, seeded by the study's seed and the trial's number."""
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    if config.name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=config.n_startup_trials)


def build_distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions, by dotted name."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def _distribution(parameter: Parameter) -> BaseDistribution:
    match parameter:
        case FloatParameter(low=low, high=high, step=None):
            return FloatDistribution(low, high, log=parameter.log)
        case FloatParameter(low=low, high=high, step=float(step)):
            return FloatDistribution(low, _highest_reached(low, high, step), step=step)
        case IntParameter(low=low, high=high):
            step = parameter.step or 1
            return IntDistribution(low, high - (high - low) % step, log=parameter.log, step=step)
        case CategoricalParameter(choices=choices):
            return CategoricalDistribution(choices)
    raise AssertionError(f"unknown parameter {parameter!r}")


def _highest_reached(low: float, high: float, step: float) -> float:
    """Return the last value at or below high that steps from low reach.

    >>> _highest_reached(0.1, 1.0, 0.2)
    0.9
    """
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)
