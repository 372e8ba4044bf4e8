"""Suggestions by Optuna, asked and told; knows nothing of Ray or of the journal.

The study that Optuna works on is in memory. A copy of it goes to an SQLite file for dashboards,
which can be rebuilt from the journal; so a search does not end when that file cannot be written,
and does not wait for it long.
"""

import logging
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SamplerConfig,
    StudyConfig,
)
from ucluster_tune.search.events import FinalOutcome, Value

_LOG = logging.getLogger(__name__)
_BUSY_TIMEOUT_S = 10
_RETRY_AFTER_S = 60.0


class StudySampler:
    """Suggests hyperparameters, knowing every trial of the study that it was told of.

    A suggestion depends on the seed, the trial's number and the trials told before it, not on
    how often the program was started.

    Args:
        study: the configuration: search space, objective, sampler.
        name: the study's name, for dashboards.
        published_point: the first suggestion, when the configuration asks for it.
        database: the SQLite file for dashboards; None keeps none.
    """

    def __init__(
        self,
        study: StudyConfig,
        *,
        name: str,
        published_point: Mapping[str, Value] | None = None,
        database: Path | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = study.sampler
        self._distributions = build_distributions(study.search_space)
        self._n_asked = 0
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._memory, study_name=name, direction=study.objective.direction
        )
        self._trials: dict[str, optuna.Trial] = {}
        if study.sampler.published_first and published_point is not None:
            self._study.enqueue_trial(dict(published_point))
        self._copy = _DashboardCopy(self._study, database) if database else None

    def ask(self, trial_id: str) -> dict[str, Value]:
        """Returns the hyperparameters of a new trial, by dotted name."""
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
        if outcome == "complete" and score is not None and np.isfinite(score):
            self._study.tell(trial, score)
        elif outcome == "stopped_early":
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)
        self._update_copy(trial)

    def close(self) -> None:
        """Brings the dashboards' file up to date, where that is possible."""
        if self._copy:
            self._copy.write()

    def _update_copy(self, trial: optuna.Trial) -> None:
        if self._copy:
            self._copy.update(self._memory.get_trial(trial._trial_id))


def build_sampler(config: SamplerConfig, number: int) -> BaseSampler:
    """Returns the sampler of one suggestion, seeded by the study's seed and the trial's number."""
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    if config.name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=config.n_startup_trials)


def build_distributions(space: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    """Returns Optuna's distributions, by dotted name."""
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
    """Returns the last value at or below high that steps from low reach.

    >>> _highest_reached(0.1, 1.0, 0.2)
    0.9
    """
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)


class _DashboardCopy:
    """Optuna's study written to SQLite, trial by trial; behind while the file is held or full."""

    def __init__(self, study: optuna.Study, path: Path) -> None:
        self._name = study.study_name
        self._direction = study.direction
        self._path = path
        self._storage: RDBStorage | None = None
        self._study_id = 0
        self._ids: dict[int, int] = {}
        self._n_values: dict[int, int] = {}
        self._behind: dict[int, FrozenTrial] = {}
        self._wait_until = 0.0

    def update(self, trial: FrozenTrial) -> None:
        """Writes what is new of a trial, now or, where that fails, later."""
        self._behind[trial.number] = trial
        if time.monotonic() >= self._wait_until:
            self.write()

    def write(self) -> None:
        """Writes all that is behind."""
        try:
            storage = self._storage or self._open()
            for number in sorted(self._behind):
                self._write_trial(storage, self._behind[number])
                del self._behind[number]
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            self._wait_until = time.monotonic() + _RETRY_AFTER_S
            reason = str(error.__cause__ or error).splitlines()[0]
            _LOG.warning("%s, for dashboards, is behind the search: %s", self._path, reason)

    def _open(self) -> RDBStorage:
        self._path.unlink(missing_ok=True)
        storage = RDBStorage(
            f"sqlite:///{self._path}", engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
        )
        self._study_id = storage.create_new_study([self._direction], self._name)
        self._storage = storage
        return storage

    def _write_trial(self, storage: RDBStorage, trial: FrozenTrial) -> None:
        number = trial.number
        if number not in self._ids:
            self._ids[number] = storage.create_new_trial(self._study_id, _running_copy(trial))
        values = list(trial.intermediate_values.items())
        for epoch, value in values[self._n_values.get(number, 0) :]:
            storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self._n_values[number] = self._n_values.get(number, 0) + 1
        if trial.state.is_finished():
            storage.set_trial_state_values(self._ids[number], trial.state, trial.values)


def _running_copy(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
    )
