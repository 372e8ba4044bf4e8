"""Where Optuna's dashboards find a study: a file of its own, or a database server of many studies.

Knows nothing of what is written there, nor when.
"""

import logging
import os
from pathlib import Path
from typing import Protocol

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import whole
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.tracking.databases import (
    engine_arguments,
    in_words,
    is_database_server,
    is_locked,
    one_at_a_time,
    refuse_unreachable,
    sqlite_uri,
    with_password,
)

STORAGE_VARIABLE = "UCLUSTER_TUNE_OPTUNA_STORAGE"
_LOG = logging.getLogger(__name__)
_BUSY_TIMEOUT_S = 10
_WHOSE = "Optuna's database"
Opened = tuple[RDBStorage, int]  # and the id of the study in it
Found = tuple[RDBStorage, int, list[FrozenTrial]]


class DashboardStore(Protocol):
    """Keeps one study of Optuna's.

    Attributes:
        shown: what it is, for messages.
    """

    shown: str

    def find(self) -> Found | None:
        """Return the study that is there, None where there is none or a damaged one.

        Raises:
            Exception: it is held or away; it may be there later.
        """

    def create(self, directions: list[StudyDirection]) -> Opened:
        """Return a new and empty study, in the place of one that is there."""


class DashboardFile:
    """An SQLite file that holds the study alone.

    Args:
        path: of the file.
        name: of the study in it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self.shown = str(path)

    def find(self) -> Found | None:
        """Return the study in the file, None where that cannot be read."""
        if not self._path.exists():
            return None
        try:
            storage = self._connect(self._path)
            (study,) = storage.get_all_studies()
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
        except Exception as error:  # a file that is damaged in whatever way
            if is_locked(error):
                raise
            _LOG.warning("%s cannot be read and is written anew: %s", self._path, error)
            return None
        return (storage, study._study_id, trials) if study.study_name == self._name else None

    def create(self, directions: list[StudyDirection]) -> Opened:
        """Make a file whose tables are there as soon as it is."""
        with whole(self._path) as temporary:
            made = self._connect(temporary)
            made.create_new_study(directions, self._name)
            made.remove_session()
            made.engine.dispose()
            for rest in ("-journal", "-wal", "-shm"):
                self._path.with_name(self._path.name + rest).unlink(missing_ok=True)
        storage = self._connect(self._path)
        return storage, storage.get_study_id_from_name(self._name)

    def _connect(self, path: Path) -> RDBStorage:
        return RDBStorage(
            sqlite_uri(path), engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_S}}
        )


class DashboardDatabase:
    """A study in the database of a server, which other studies share.

    Args:
        url: of the database.
        name: of the study; others may have studies of the same name, so part of its id goes along.
        study_id: of the study's record.
    """

    def __init__(self, url: str, name: str, study_id: str) -> None:
        self._url = url
        self.name = f"{name}-{study_id[:8]}"
        self.shown = f"study {self.name} of {uri_without_password(url)}"

    def find(self) -> Found | None:
        """Return the study of this name, None where the database has none."""
        storage = self._connect()
        study_id = self._id_in(storage)
        if study_id is None:
            return None
        return storage, study_id, storage.get_all_trials(study_id, deepcopy=False)

    def create(self, directions: list[StudyDirection]) -> Opened:
        """Make the study anew."""
        storage = self._connect()
        study_id = self._id_in(storage)
        if study_id is not None:
            storage.delete_study(study_id)
        try:
            return storage, storage.create_new_study(directions, self.name)
        except DuplicatedStudyError as error:
            raise OSError("another process makes it now") from error

    def _id_in(self, storage: RDBStorage) -> int | None:
        try:
            return storage.get_study_id_from_name(self.name)
        except KeyError:
            return None

    def delete(self) -> None:
        """Remove the study; StudyError where the database is away."""
        try:
            storage = self._connect()
            study_id = self._id_in(storage)
            if study_id is not None:
                storage.delete_study(study_id)
        except StudyError:
            raise
        except Exception as error:
            raise StudyError(f"{self.shown}: {in_words(error)}") from error

    def _connect(self) -> RDBStorage:
        url = with_password(self._url)
        with one_at_a_time(url, _WHOSE):
            return RDBStorage(url, engine_kwargs=engine_arguments(url))


def dashboard_store(tracking: TrackingConfig, paths: StudyPaths, study_id: str) -> DashboardStore:
    """Return where a study is shown."""
    url = dashboard_database(tracking)
    if url is None:
        return DashboardFile(paths.optuna_db, paths.name)
    return DashboardDatabase(url, paths.name, study_id)


def dashboard_database(tracking: TrackingConfig) -> str | None:
    """Return the URL of the database of all studies, None where each has a file.

    Raises:
        StudyError: UCLUSTER_TUNE_OPTUNA_STORAGE names something else.
    """
    url = tracking.optuna_storage or os.environ.get(STORAGE_VARIABLE) or None
    if url is not None and not is_database_server(url):
        raise StudyError(
            f"{STORAGE_VARIABLE}: must be the URL of a database server, such as"
            f" postgresql+pg8000://user@host/optuna, got {uri_without_password(url)!r}; leave it"
            " out for a file in each study's folder"
        )
    return url


def refuse_absent_database(tracking: TrackingConfig) -> None:
    """Raise StudyError where the configured database does not let this process in."""
    url = dashboard_database(tracking)
    if url is not None:
        refuse_unreachable(with_password(url), _WHOSE)
