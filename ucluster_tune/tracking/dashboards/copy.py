"""A study's trials in a store for Optuna's dashboards, which follow the study's record.

The store holds nothing that cannot be built again, so a search neither ends when it cannot be
written nor waits for it: a thread writes.
"""

import logging
import threading
from collections.abc import Mapping

from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.storage.patience import Follower
from ucluster_tune.study.events import EpochEnded, Event, StudyEnded, TrialEnded, TrialStarted
from ucluster_tune.study.knowledge import known_trial
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.optuna_trials import (
    NOISE,
    OF_ANOTHER_STUDY,
    build_distributions,
    optuna_trial,
)
from ucluster_tune.tracking.dashboards.stores import DashboardStore
from ucluster_tune.tracking.databases import in_words

_LOG = logging.getLogger(__name__)
_RETRY_AFTER_S = 60.0
_CLOSE_TIMEOUT_S = 120.0


class DashboardCopy:
    """Writes a study's trials to a store, behind while that is held, full or away; an observer.

    Trials that the store holds already, from a driver before this one, are left as they are when
    they say the same; otherwise the study is written anew.

    Args:
        config: of the study: its search space and its objective.
        record: of the study.
        lock: held by whoever changes the record.
        store: to write to.
    """

    def __init__(
        self,
        config: StudyConfig,
        record: StudyRecord,
        lock: threading.RLock,
        store: DashboardStore,
    ) -> None:
        self._config, self._record, self._lock = config, record, lock
        self._distributions = build_distributions(config.search_space)
        self._taught = list(record.warm_start.trials) if record.warm_start else []
        self._store = store
        self._storage: RDBStorage | None = None
        self._study_id = 0
        self._ids: dict[int, int] = {}
        self._written: dict[int, dict[int, float]] = {}
        self._whole: set[int] = set()
        self._trials = list(record.trials)  # by their numbers, those of another study before them
        self._numbers = {
            trial_id: n for n, trial_id in enumerate(record.trials, len(self._taught))
        }
        self._behind: set[int] = set(range(len(self._taught) + len(record.trials)))
        self._follower = Follower(
            "dashboard-copy",
            self._write_next,
            lambda: self._storage is None or bool(self._behind),
            self._failed,
            pause_s=_RETRY_AFTER_S,
            longest_pause_s=_RETRY_AFTER_S,
        )

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Have what is new of a trial written, now or, where that fails, later."""
        if isinstance(event, TrialStarted | EpochEnded | TrialEnded):
            if not record.is_searched(event):
                return
            if event.trial not in self._numbers:
                self._trials.append(event.trial)
                self._numbers[event.trial] = len(self._numbers) + len(self._taught)
            with self._follower.condition:
                self._behind.add(self._numbers[event.trial])
            self._follower.wake()
        elif isinstance(event, StudyEnded):
            left = [t.id for t in record.trials.values() if t.outcome == "interrupted"]
            with self._follower.condition:
                self._behind.update(self._numbers[trial_id] for trial_id in left)

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Write all that is behind, and return whether that succeeded within the limit."""
        return self._follower.close(timeout_s)

    def _failed(self, error: Exception) -> None:
        _LOG.warning(
            "%s, for dashboards, is behind the search: %s",
            self._store.shown,
            in_words(error.__cause__ or error),
        )
        self._compare_again()

    def _compare_again(self) -> None:
        """Forget what the store has: what it took before it failed is not known."""
        self._storage = None
        for known in (self._ids, self._written, self._whole):
            known.clear()
        with self._follower.condition:
            self._behind = set(range(len(self._taught) + len(self._trials)))

    def _write_next(self) -> None:
        storage = self._storage or self._open()
        with self._follower.condition:
            if not self._behind:
                return
            number = min(self._behind)
            self._behind.remove(number)  # what changes from here on is written again
        # Where that fails, all are compared again.
        if not self._write_trial(storage, number, self._trial(number)):
            self._compare_again()

    def _trial(self, number: int) -> FrozenTrial:
        """Return a trial as the store is to show it."""
        if number < len(self._taught):
            attributes = {OF_ANOTHER_STUDY: True}
            return optuna_trial(self._taught[number], self._distributions, attributes)
        with self._lock:
            trial = self._record.trials[self._trials[number - len(self._taught)]]
            known = known_trial(trial, self._config.objective)
            is_over = trial.outcome == "interrupted" and self._record.state != "running"
        if is_over:
            known = known.model_copy(update={"outcome": "interrupted"})
        return optuna_trial(known, self._distributions)

    def _open(self) -> RDBStorage:
        storage = self._reuse()
        if storage is None:
            names = self._config.objective.directions
            directions = [StudyDirection[name.upper()] for name in names]
            storage, self._study_id = self._store.create(directions)
        self._storage = storage
        return storage

    def _reuse(self) -> RDBStorage | None:
        """Return the store of a driver before this one, where its trials say what ours say."""
        found = self._store.find()
        if found is None:
            return None
        storage, study_id, trials = found
        n_trials = len(self._taught) + len(self._trials)
        if not all(t.number < n_trials and _agrees(t, self._trial(t.number)) for t in trials):
            return None
        self._study_id = study_id
        for trial in trials:
            self._ids[trial.number] = trial._trial_id
            self._written[trial.number] = trial.intermediate_values
            if trial.state.is_finished():
                self._whole.add(trial.number)
        return storage

    def _write_trial(self, storage: RDBStorage, number: int, trial: FrozenTrial) -> bool:
        """Write what is new of a trial; return whether what was written of it is still true."""
        if number in self._whole:
            return True
        if number not in self._ids:
            is_whole = trial.state.is_finished()
            copy = trial if is_whole else _running_copy(trial)
            self._ids[number] = storage.create_new_trial(self._study_id, copy)
            self._written[number] = dict(copy.intermediate_values)
            if is_whole:
                self._whole.add(number)
                return True
        written = self._written[number]
        if not _begins_with(trial, written):
            return False
        for epoch, value in trial.intermediate_values.items():
            if epoch not in written:
                storage.set_trial_intermediate_value(self._ids[number], epoch, value)
                written[epoch] = value
        if trial.state.is_finished():
            if NOISE in trial.user_attrs:
                storage.set_trial_user_attr(self._ids[number], NOISE, trial.user_attrs[NOISE])
            storage.set_trial_state_values(self._ids[number], trial.state, trial.values)
            self._whole.add(number)
        return True


def _begins_with(trial: FrozenTrial, written: Mapping[int, float]) -> bool:
    values = list(trial.intermediate_values.items())
    return list(written.items()) == values[: len(written)]


def _agrees(written: FrozenTrial, trial: FrozenTrial) -> bool:
    """Return whether a trial in the store is ours, whole or up to what it tells."""
    if written.params != trial.params or written.user_attrs != trial.user_attrs:
        return False
    if not _begins_with(trial, written.intermediate_values):
        return False
    if not written.state.is_finished():
        return True
    return (
        written.state == trial.state
        and written.values == trial.values
        and len(written.intermediate_values) == len(trial.intermediate_values)
    )


def _running_copy(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
    )
