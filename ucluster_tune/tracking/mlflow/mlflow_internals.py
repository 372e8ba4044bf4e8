"""What of MLflow's is not public, or not promised, and used all the same; a test looks each up.

Loads MLflow only where its tables are made. What its web interface reads from an address, or from
a view that is shared, is in `pages`.
"""

import sqlite3
from pathlib import Path
from typing import Final

from ucluster_tune.tracking.databases import sqlite_uri

# Without this tag MLflow 3's pages show what is of use for language models.
MODEL_TRAINING: Final = {"mlflow.experimentKind": "custom_model_development"}
# The interface reads a view from a tag of the experiment that is named after it.
SHARED_VIEW: Final = "mlflow.sharedViewState."

# It sends reports of its use to its makers, unless one of these says no.
NO_REPORTS: Final = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# What is set where the user did not; MLflow has no call for any of it.
QUIET: Final = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its log goes where ours does
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is away is asked again by this program, in its own time.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
TALKATIVE_LOGGERS: Final = ("alembic", "mlflow")

# Of a server: its store, which may hold a password, so that it must not be seen in `ps`.
SERVER_STORE: Final = "MLFLOW_BACKEND_STORE_URI"
# What is for language models only: five more processes, and pages with their menu.
NO_GENAI: Final = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
}


def make_tables(path: Path, artifacts: str) -> None:
    """Make MLflow's tables in a new SQLite file, one by one; one thread at a time may do it.

    Args:
        path: of the file.
        artifacts: URI for those of runs that name no place.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(sqlite_uri(path), artifacts)  # type: ignore[no-untyped-call]  # MLflow's, partly typed
    store.engine.dispose()


def artifact_places(store: sqlite3.Connection) -> list[str]:
    """Return the URIs of the folders in which experiments of an SQLite file keep artifacts."""
    found = store.execute("SELECT DISTINCT artifact_location FROM experiments")
    return [str(place) for (place,) in found]


def move_artifacts(store: sqlite3.Connection, old: str, new: str) -> int:
    """Have experiments and their runs keep artifacts elsewhere; return the number of runs.

    MLflow stores absolute URIs, and has no call that changes them.
    """
    change = "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?"
    store.execute(change, (new, old))
    return store.execute(
        "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
        " WHERE substr(artifact_uri, 1, ?) = ?",
        (new, len(old) + 1, len(old) + 1, f"{old}/"),
    ).rowcount
