"""Where MLflow keeps its runs and artifacts, and what a store says when it fails.

Knows nothing of runs. Loads MLflow only in the functions that need it, so that the command line
can ask where a store is.
"""

import getpass
import importlib
import logging
import os
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ucluster_tune.config.passwords import hide_passwords, holds_password, uri_without_password
from ucluster_tune.errors import StudyError
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.databases import is_database_server, refuse_unreachable, sqlite_uri
from ucluster_tune.tracking.mlflow.mlflow_internals import (
    MODEL_TRAINING,
    NO_REPORTS,
    QUIET,
    TALKATIVE_LOGGERS,
    artifact_places,
    make_tables,
    move_artifacts,
)

LOCK_TIMEOUT_S = 20.0  # what MLflow itself waits for a locked SQLite file

_SQLITE = "sqlite:///"
_SERVERS = ("http", "https", "postgresql", "mysql", "mssql")  # what MLflow's stores are of
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_MAKING = threading.Lock()  # MLflow's migrations are one thread's work
_IMPORTING = threading.Lock()


def resolve_tracking_uri(uri: str | None, studies_dir: Path) -> str:
    """Return the URI for MLflow: SQLite files by absolute path, other stores as they are.

    Args:
        uri: a URI, the path of an SQLite file (`runs.db`), or None for what MLFLOW_TRACKING_URI
            says, and without it `mlflow.db` in the studies folder. Relative paths start at the
            working directory.
        studies_dir: the studies folder.

    Raises:
        StudyError: a kind of store that MLflow no longer writes to, or a path it misreads.

    >>> resolve_tracking_uri(None, Path("/data/studies"))
    'sqlite:////data/studies/mlflow.db'
    >>> resolve_tracking_uri("http://tracking:5000", Path("/data/studies"))
    'http://tracking:5000'
    """
    named_by = "tracking.uri" if uri else f"{URI_VARIABLE} in the environment"
    uri = uri or os.environ.get(URI_VARIABLE)
    if not uri:
        path = StudiesFolder(studies_dir).mlflow_db
    elif uri.startswith(_SQLITE):
        path = sqlite_path(uri) or Path()
    elif "://" not in uri and uri.endswith((".db", ".sqlite", ".sqlite3")):
        path = Path(uri)
    elif "://" not in uri or uri.startswith("file:"):
        raise StudyError(
            f"{named_by}: MLflow keeps no runs in plain folders any more, got '{uri}';"
            " name an SQLite file (runs.db), a server (http://host:5000),"
            " or leave it out for one in the studies folder"
        )
    elif uri.partition("://")[0].partition("+")[0] not in _SERVERS:
        raise StudyError(
            f"{named_by}: MLflow keeps no runs in {uri_without_password(uri)!r}; name a server"
            " (http://host:5000), a database (postgresql+pg8000://user@host/mlflow), an SQLite"
            " file (runs.db), or leave it out for one in the studies folder"
        )
    else:
        return uri
    absolute = path.expanduser().absolute()
    if "?" in str(absolute):
        raise StudyError(
            f"MLflow cannot keep its runs in '{absolute}': a '?' in the path starts the options"
            " of its URI; choose another studies folder"
        )
    return sqlite_uri(absolute)


def uri_of_study(configured: str | None, recorded: str, studies_dir: Path) -> str:
    """Return the URI of the store that holds a study's runs.

    Args:
        configured: tracking.uri of the study's configuration.
        recorded: what `Tracker.uri` was when the study started: absolute, without a password.
        studies_dir: the studies folder, which may have moved since.
    """
    named = configured or os.environ.get(URI_VARIABLE)
    if named and holds_password(named):
        return named
    database = sqlite_path(recorded)
    if database is None:
        return recorded
    if not named:
        return resolve_tracking_uri(None, studies_dir)
    moved = studies_dir.absolute() / database.name
    return sqlite_uri(moved) if moved.exists() and not database.exists() else recorded


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store, None for another store."""
    return Path(unquote(uri.removeprefix(_SQLITE))) if uri.startswith(_SQLITE) else None


def is_server(uri: str) -> bool:
    """Return True for an MLflow server, which has a page of its own and keeps the artifacts."""
    return uri.startswith(("http://", "https://"))


def artifact_location(uri: str, studies_dir: Path) -> str | None:
    """Return where a new experiment's artifacts go, None where a server decides.

    Beside an SQLite file, otherwise in the studies folder: MLflow's own default would be the
    working directory.
    """
    if is_server(uri):
        return None
    database = sqlite_path(uri)
    folder = studies_dir if database is None else database.parent
    return StudiesFolder(folder.absolute()).mlflow_artifacts.as_uri()


def refuse_unusable_store(uri: str) -> None:
    """Raise StudyError at once for an SQLite file that cannot be written, or an absent database.

    MLflow itself tries ten times, for minutes, and logs a traceback each time.
    """
    if is_database_server(uri):
        refuse_unreachable(uri, "MLflow's database")
    path = sqlite_path(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # made whole by `make_sqlite_store`, so not here
            tempfile.TemporaryFile(dir=path.parent).close()
            return
        connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise StudyError(
            f"MLflow's SQLite file {path} cannot be written: {error};"
            " choose another --studies-dir or tracking.uri"
        ) from error


def make_sqlite_store(uri: str) -> None:
    """Make the tables of an SQLite store that is not there yet, all or none.

    MLflow makes them one by one, and a process that is killed meanwhile leaves a file that no
    other can open. Another process may make the same file: the first one is kept.
    """
    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    try:
        with _MAKING:
            make_tables(temporary, path.parent.as_uri())
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def follow_moved_artifacts(uri: str) -> str | None:
    """Have runs keep their artifacts beside an SQLite file that was moved with them, or copied.

    Returns:
        What was changed, in words; None where nothing was.

    Raises:
        StudyError: the file cannot be written.
    """
    path = sqlite_path(uri)
    if path is None or not path.is_file():
        return None
    here = StudiesFolder(path.parent.absolute()).mlflow_artifacts
    if not here.is_dir():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as store, store:
            elsewhere = [
                old
                for old in artifact_places(store)
                if old.startswith("file:")
                and old.endswith(f"/{here.name}")
                and old != here.as_uri()
            ]
            n_runs = sum(move_artifacts(store, old, here.as_uri()) for old in elsewhere)
    except sqlite3.Error as error:
        raise StudyError(f"MLflow's SQLite file {path} cannot be written: {error}") from error
    if not elsewhere:
        return None
    return f"MLflow: artifacts of {n_runs} runs are in {here} now, no longer in {elsewhere[0]}"


def remove_stray_folder(uri: str) -> None:
    """Remove the empty folder that MLflow makes where it takes escapes of a URI for a path."""
    path = sqlite_path(uri)
    stray = Path(uri.removeprefix(_SQLITE)).parent
    if path is not None and stray != path.parent:
        with suppress(OSError):  # not empty, or not there
            os.removedirs(stray)


def keep_mlflow_quiet() -> None:
    """Have MLflow send no usage reports, print nothing, wait shortly; the user's wishes stay.

    Call it before a thread imports MLflow: a process that another thread starts just when the
    environment is changed may be given one that is half of it.
    """
    for name, value in NO_REPORTS.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def import_mlflow() -> None:
    """Import MLflow, quietly and in one thread at a time.

    Its modules import each other in circles, so two threads that import it for the first time
    can each wait for a module that the other one holds.
    """
    keep_mlflow_quiet()
    with _IMPORTING:
        importlib.import_module("mlflow.tracking")


def find_or_create_experiment(client: Any, name: str, location: str | None) -> str:
    """Return the id of the experiment.

    Args:
        client: an MlflowClient.
        name: of the experiment.
        location: URI for the artifacts of a new one; None lets the server decide.

    Raises:
        StudyError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, location, tags=MODEL_TRAINING))
        except MlflowException:  # another study may have made it in between
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise StudyError(
            f"MLflow experiment '{name}' was deleted; restore it with"
            f" `mlflow experiments restore -x {experiment.experiment_id}`"
            " or name another one in tracking.experiment"
        )
    return str(experiment.experiment_id)


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what a store raises into one StudyError of one line, without the password."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        shown = uri_without_password(uri)
        text = hide_passwords((str(error).strip() or type(error).__name__).replace(uri, shown))
        hint = "; check that the server runs and is the one of tracking.uri"
        raise StudyError(
            f"MLflow store {shown}: {text.splitlines()[0][:400]}{hint if is_server(uri) else ''}"
        ) from error


def user_name() -> str | None:
    """Return who runs this, None where the system has no name for the user (some containers)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
