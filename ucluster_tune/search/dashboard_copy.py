"""Optuna's study in an SQLite file, for dashboards; knows nothing of the search.

The file holds nothing that cannot be built again, so a search neither ends when it cannot be
written nor waits for it: a thread writes.
"""

import logging
import threading
import uuid
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

_LOG = logging.getLogger(__name__)
_BUSY_TIMEOUT_S = 10
_RETRY_AFTER_S = 60.0
_CLOSE_TIMEOUT_S = 120.0


class DashboardCopy:
    """Optuna's study written to SQLite, trial by trial; behind while the file is held or full.

    Trials that the file holds already, from a driver before this one, are left as they are when
    they say the same; otherwise the file is written anew.

    Args:
        study: to copy.
        path: of the file.
    """

    def __init__(self, study: optuna.Study, path: Path) -> None:
        self._name = study.study_name
        self._direction = study.direction
        self._path = path
        self._storage: RDBStorage | None = None
        self._study_id = 0
        self._ids: dict[int, int] = {}
        self._n_values: dict[int, int] = {}
        self._whole: set[int] = set()
        self._behind: dict[int, FrozenTrial] = {}
        self._condition = threading.Condition()
        self._has_news = self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="dashboard-copy", daemon=True)

    def add(self, trial: FrozenTrial) -> None:
        """Take in a trial that is to be in the file, and is written with the next update."""
        with self._condition:
            self._behind[trial.number] = trial

    def update(self, trial: FrozenTrial) -> None:
        """Have what is new of a trial written, now or, where that fails, later."""
        self.add(trial)
        self._wake()

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Write all that is behind, and return whether that succeeded within the limit."""
        with self._condition:
            self._is_closing = True
        self._wake()
        self._thread.join(timeout_s)
        return not self._behind

    def _wake(self) -> None:
        with self._condition:
            self._has_news = True
            self._condition.notify()
            if self._thread.ident is None:
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._has_news or self._is_closing)
                self._has_news, is_last = False, self._is_closing
            try:
                self._write()
            except (StorageInternalError, SQLAlchemyError, OSError) as error:
                reason = str(error.__cause__ or error).splitlines()[0]
                _LOG.warning("%s, for dashboards, is behind the search: %s", self._path, reason)
                with self._condition:
                    self._condition.wait_for(lambda: self._is_closing, _RETRY_AFTER_S)
                    self._has_news = True
            if is_last:
                return

    def _write(self) -> None:
        storage = self._storage or self._open()
        while True:
            with self._condition:
                if not self._behind:
                    return
                number = min(self._behind)
                trial = self._behind.pop(number)
            try:
                self._write_trial(storage, trial)
            except BaseException:
                with self._condition:
                    self._behind.setdefault(number, trial)
                raise

    def _open(self) -> RDBStorage:
        storage = self._reuse() or self._create()
        self._storage = storage
        return storage

    def _reuse(self) -> RDBStorage | None:
        """Returns the store of a driver before this one, where its trials say what ours say."""
        if not self._path.exists():
            return None
        try:
            storage = self._connect(self._path)
            (study,) = storage.get_all_studies()
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
        except Exception as error:  # a file that is damaged in whatever way
            if "locked" in str(error.__cause__ or error):
                raise
            _LOG.warning("%s cannot be read and is written anew: %s", self._path, error)
            return None
        with self._condition:
            ours = dict(self._behind)
        if study.study_name != self._name or not all(
            trial.number in ours and _agrees(trial, ours[trial.number]) for trial in trials
        ):
            return None
        self._study_id = study._study_id
        for trial in trials:
            self._ids[trial.number] = trial._trial_id
            self._n_values[trial.number] = len(trial.intermediate_values)
            if trial.state.is_finished():
                self._whole.add(trial.number)
        return storage

    def _create(self) -> RDBStorage:
        """Make a file whose tables are there as soon as it is."""
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.new")
        try:
            made = self._connect(temporary)
            made.create_new_study([self._direction], self._name)
            made.remove_session()
            made.engine.dispose()
            for rest in ("-journal", "-wal", "-shm"):
                self._path.with_name(self._path.name + rest).unlink(missing_ok=True)
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        storage = self._connect(self._path)
        self._study_id = storage.get_study_id_from_name(self._name)
        return storage

    def _connect(self, path: Path) -> RDBStorage:
        return RDBStorage(
            f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
        )

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
    """Returns whether a trial in the file is ours, whole or up to what it tells."""
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
