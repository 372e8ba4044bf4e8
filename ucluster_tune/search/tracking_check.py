"""Whether MLflow's store, and the database behind it, answers; writes nothing there."""

import os
import threading
from pathlib import Path

from ucluster_tune.cluster.comparisons import CheckRow
from ucluster_tune.errors import StudyError
from ucluster_tune.search.tracking_store import (
    is_server,
    keep_mlflow_quiet,
    refuse_unusable_store,
    resolve_tracking_uri,
    sqlite_path,
    store_errors,
    uri_without_password,
)

_LIMIT_S = 45.0
_REMEDY = (
    "start it, or name another one with tracking.uri or MLFLOW_TRACKING_URI; null keeps the runs"
    " in an SQLite file in the studies folder"
)


def check_tracking(uri: str | None, studies_dir: Path) -> CheckRow:
    """Returns the row of the one process that writes to MLflow.

    Args:
        uri: of the configuration; None is resolved as for a search.
        studies_dir: the folder of all studies.
    """
    answer: list[str] = []
    fault: list[str] = []

    def ask() -> None:
        try:
            answer.append(_ask(resolve_tracking_uri(uri, studies_dir)))
        except StudyError as error:
            fault.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_LIMIT_S)
    if answer:
        return CheckRow("driver", "MLflow", True, answer[0])
    found = fault[0] if fault else f"no answer within {_LIMIT_S:g} s"
    return CheckRow("driver", "MLflow", False, found, _REMEDY)


def _ask(uri: str) -> str:
    path = sqlite_path(uri)
    if path is not None:
        return _ask_file(uri, path)
    keep_mlflow_quiet()
    shown = uri_without_password(uri)
    with store_errors(uri):
        if is_server(uri):
            from mlflow.tracking import MlflowClient  # noqa: PLC0415 heavy

            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
            return f"the server {shown} answers, with its database"
        import sqlalchemy  # noqa: PLC0415 heavy

        engine = sqlalchemy.create_engine(uri)
        try:
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("SELECT 1"))
        finally:
            engine.dispose()
    return f"the database {shown} answers"


def _ask_file(uri: str, path: Path) -> str:
    if path.exists():
        refuse_unusable_store(uri)
        return f"the SQLite file {path} can be written"
    folder = next(folder for folder in path.parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise StudyError(f"MLflow's SQLite file {path} cannot be made: no leave to write {folder}")
    return f"the SQLite file {path} will be made"
