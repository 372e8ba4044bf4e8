"""Whether the stores of MLflow and of Optuna's dashboards answer; writes nothing there."""

import os
from collections.abc import Callable
from pathlib import Path

from ucluster_tune.cluster.fitness.comparisons import CheckRow
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.tracking.dashboards.stores import dashboard_database
from ucluster_tune.tracking.databases import refuse_unreachable, with_password
from ucluster_tune.tracking.mlflow.store import (
    import_mlflow,
    is_server,
    refuse_unusable_store,
    resolve_tracking_uri,
    sqlite_path,
    store_errors,
)

_LIMIT_S = 45.0
_REMEDY = (
    "start it, or name another one with tracking.uri or MLFLOW_TRACKING_URI; null keeps the runs"
    " in an SQLite file in the studies folder"
)
_OPTUNA_REMEDY = (
    "start it, or name another one with tracking.optuna_storage or UCLUSTER_TUNE_OPTUNA_STORAGE;"
    " without either each study keeps a file"
)


def check_tracking(tracking: TrackingConfig, studies_dir: Path) -> list[CheckRow]:
    """Return the rows of the one process that writes to MLflow, and to Optuna's database.

    Args:
        tracking: of the configuration; what it leaves open is resolved as for a search.
        studies_dir: the folder of all studies.
    """
    rows = [_row("MLflow", lambda: _ask(resolve_tracking_uri(tracking.uri, studies_dir)), _REMEDY)]
    try:
        database = dashboard_database(tracking)
    except StudyError as error:
        return [*rows, CheckRow("driver", "Optuna", False, str(error), _OPTUNA_REMEDY)]
    if database is not None:
        rows.append(_row("Optuna", lambda: _ask_database(database), _OPTUNA_REMEDY))
    return rows


def _row(what: str, ask: Callable[[], str], remedy: str) -> CheckRow:
    answer = begin(ask, f"ask-{what}")
    if not is_done(answer, _LIMIT_S):
        return CheckRow("driver", what, False, f"no answer within {_LIMIT_S:g} s", remedy)
    try:
        return CheckRow("driver", what, True, answer.result())
    except StudyError as error:
        return CheckRow("driver", what, False, str(error), remedy)


def _ask(uri: str) -> str:
    path = sqlite_path(uri)
    if path is not None:
        return _ask_file(uri, path)
    if not is_server(uri):
        return _ask_database(uri)
    import_mlflow()
    with store_errors(uri):
        from mlflow.tracking import MlflowClient

        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        return f"the server {uri_without_password(uri)} answers, with its database"


def _ask_database(uri: str) -> str:
    refuse_unreachable(with_password(uri), "the database")
    return f"the database {uri_without_password(uri)} answers"


def _ask_file(uri: str, path: Path) -> str:
    if path.exists():
        refuse_unusable_store(uri)
        return f"the SQLite file {path} can be written"
    folder = next(folder for folder in path.parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise StudyError(f"MLflow's SQLite file {path} cannot be made: no leave to write {folder}")
    return f"the SQLite file {path} will be made"
