"""Optuna's study in a store for dashboards; knows nothing of the search.

The store holds nothing that cannot be built again, so a search neither ends when it cannot be
written nor waits for it: a thread writes.
"""

import logging

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ucluster_tune.storage.patience import Follower
from ucluster_tune.tracking.dashboards.stores import DashboardStore
from ucluster_tune.tracking.databases import told

_LOG = logging.getLogger(__name__)
_RETRY_AFTER_S = 60.0
_CLOSE_TIMEOUT_S = 120.0


class DashboardCopy:
    """Optuna's study written to a store, trial by trial; behind while that is held, full or away.

    Trials that the store holds already, from a driver before this one, are left as they are when
    they say the same; otherwise the study is written anew.

    Args:
        study: to copy.
        store: to copy it to.
    """

    def __init__(self, study: optuna.Study, store: DashboardStore) -> None:
        self._direction = study.direction
        self._store = store
        self._storage: RDBStorage | None = None
        self._study_id = 0
        self._ids: dict[int, int] = {}
        self._n_values: dict[int, int] = {}
        self._whole: set[int] = set()
        self._all: dict[int, FrozenTrial] = {}
        self._behind: dict[int, FrozenTrial] = {}
        self._follower = Follower(
            "dashboard-copy",
            self._write_next,
            lambda: self._storage is None or bool(self._behind),
            self._compare_again,
            pause_s=_RETRY_AFTER_S,
            longest_pause_s=_RETRY_AFTER_S,
        )

    def add(self, trial: FrozenTrial) -> None:
        """Take in a trial that is to be in the store, and is written with the next update."""
        with self._follower.condition:
            self._behind[trial.number] = self._all[trial.number] = trial

    def update(self, trial: FrozenTrial) -> None:
        """Have what is new of a trial written, now or, where that fails, later."""
        self.add(trial)
        self._follower.wake()

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Write all that is behind, and return whether that succeeded within the limit."""
        return self._follower.close(timeout_s)

    def _compare_again(self, error: Exception) -> None:
        """Forget what the store has: what it took before it failed is not known."""
        _LOG.warning(
            "%s, for dashboards, is behind the search: %s",
            self._store.shown,
            told(error.__cause__ or error),
        )
        with self._follower.condition:
            self._storage = None
            for known in (self._ids, self._n_values, self._whole):
                known.clear()
            self._behind = dict(self._all)

    def _write_next(self) -> None:
        storage = self._storage or self._open()
        with self._follower.condition:
            if not self._behind:
                return
            trial = self._behind.pop(min(self._behind))
        self._write_trial(storage, trial)  # where that fails, all are written again

    def _open(self) -> RDBStorage:
        storage = self._reuse()
        if storage is None:
            storage, self._study_id = self._store.create(self._direction)
        self._storage = storage
        return storage

    def _reuse(self) -> RDBStorage | None:
        """Return the store of a driver before this one, where its trials say what ours say."""
        found = self._store.find()
        if found is None:
            return None
        storage, study_id, trials = found
        with self._follower.condition:
            ours = dict(self._behind)
        if not all(
            trial.number in ours and _agrees(trial, ours[trial.number]) for trial in trials
        ):
            return None
        self._study_id = study_id
        for trial in trials:
            self._ids[trial.number] = trial._trial_id
            self._n_values[trial.number] = len(trial.intermediate_values)
            if trial.state.is_finished():
                self._whole.add(trial.number)
        return storage

    def _write_trial(self, storage: RDBStorage, trial: FrozenTrial) -> None:
        number = trial.number
        if number in self._whole:
            return
        if number not in self._ids:
            is_whole = trial.state.is_finished()
            copy = trial if is_whole else _running_copy(trial)
            self._ids[number] = storage.create_new_trial(self._study_id, copy)
            self._n_values[number] = len(copy.intermediate_values)
            if is_whole:
                self._whole.add(number)
                return
        values = list(trial.intermediate_values.items())
        for epoch, value in values[self._n_values[number] :]:
            storage.set_trial_intermediate_value(self._ids[number], epoch, value)
            self._n_values[number] += 1
        if trial.state.is_finished():
            storage.set_trial_state_values(self._ids[number], trial.state, trial.values)
            self._whole.add(number)


def _agrees(written: FrozenTrial, trial: FrozenTrial) -> bool:
    """Return whether a trial in the store is ours, whole or up to what it tells."""
    if written.params != trial.params or written.user_attrs != trial.user_attrs:
        return False
    values = list(trial.intermediate_values.items())
    if list(written.intermediate_values.items()) != values[: len(written.intermediate_values)]:
        return False
    if not written.state.is_finished():
        return True
    return (
        written.state == trial.state
        and written.values == trial.values
        and len(written.intermediate_values) == len(values)
    )


def _running_copy(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
    )
