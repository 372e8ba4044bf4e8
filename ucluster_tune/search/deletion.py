"""A study deleted: its folder, and its runs in MLflow."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.errors import StudyError
from ucluster_tune.study.bucket.copy import refresh
from ucluster_tune.study.identity import original_of
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.opening import study_config_of
from ucluster_tune.study.paths import StudiesFolder, StudyPaths, bucket_errors, remove_folder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.stores import DashboardDatabase, dashboard_store
from ucluster_tune.tracking.mlflow.pages import view_key
from ucluster_tune.tracking.mlflow.store import uri_of_study
from ucluster_tune.tracking.mlflow.tracked_study import open_store_of

if TYPE_CHECKING:
    from ucluster_tune.storage.locations import Location

_LOGGER = logging.getLogger(__name__)


def what_is_deleted(paths: StudyPaths, *, keep_mlflow: bool) -> Iterator[str]:
    """Yield what deleting a study would take away, one line each."""
    refresh(paths)
    n_files, n_bytes = _size(paths.root) if paths.remote is None else _size_in(paths.remote)
    yield f"{paths.place}: {n_files} files, {n_bytes / 2**20:.1f} MiB"
    record = _record(paths)
    original = None if record is None else original_of(paths, record)
    if original is not None:
        yield f"no run in MLflow: it is a copy, and they are those of study {original}"
        return
    if record is not None and not keep_mlflow:
        runs = sum(trial.run_id is not None for trial in record.trials.values())
        yield f"{runs + 1} runs in MLflow ({_store_of(record, paths)})"
    database = _in_database(record, paths)
    if database is not None:
        yield f"Optuna's {database.shown}"


def delete_study(paths: StudyPaths, folder: StudiesFolder, *, keep_mlflow: bool) -> Iterator[str]:
    """Delete a study that nothing drives; yield what was done, one line each.

    MLflow goes first: should it be away, nothing is deleted. What dashboards were shown in a
    database that is away stays there.

    Raises:
        StudyError: the study runs, its folder cannot be removed, or MLflow is away.
    """
    with DriverLock(paths) as lock:
        record = _record(paths)
        if record is not None and original_of(paths, record) is not None:
            record = None  # all beyond this folder belongs to the other study
        if record is not None and not keep_mlflow:
            yield _delete_runs(record, paths, folder)
        database = _in_database(record, paths)
        if database is not None:
            yield _delete_for_dashboards(database)
        lock.forget_bucket()
        # Under another name first: a folder that is half gone must not look like a study.
        gone = paths.root.with_name(f".{paths.name}.deleted.{os.getpid()}")
        try:
            paths.root.rename(gone)
            remove_folder(gone)
        except OSError as error:
            raise StudyError(f"{error.filename}: cannot be removed: {error.strerror}") from error
    yield f"{paths.place}: deleted"


def _delete_runs(record: StudyRecord, paths: StudyPaths, folder: StudiesFolder) -> str:
    config = study_config_of(record, paths)
    try:
        tracker = open_store_of(config, record, folder)
        runs: list[str] = []
        if record.run_id is not None:
            runs += [run.run_id for run in tracker.trials(record.run_id)]
            runs += [record.run_id] if tracker.study_exists(record.run_id) else []
        for run_id in runs:
            tracker.delete(run_id)
        tracker.forget_view(view_key(record))
    except StudyError as error:
        raise StudyError(
            f"{error}; nothing was deleted: try again, or leave the runs with --keep-mlflow"
        ) from error
    return f"{len(runs)} runs deleted in MLflow; `mlflow gc` there frees their artifacts"


def _store_of(record: StudyRecord, paths: StudyPaths) -> str:
    configured = record.config.get("tracking", {}).get("uri")
    return uri_without_password(uri_of_study(configured, record.tracking_uri, paths.root.parent))


def _in_database(record: StudyRecord | None, paths: StudyPaths) -> DashboardDatabase | None:
    """Return what dashboards are shown in a database; a file goes with the study's folder."""
    if record is None:
        return None
    try:
        store = dashboard_store(study_config_of(record, paths).tracking, paths, record.study_id)
    except StudyError as error:
        _LOGGER.warning("%s", error)
        return None
    return store if isinstance(store, DashboardDatabase) else None


def _delete_for_dashboards(database: DashboardDatabase) -> str:
    try:
        database.delete()
    except StudyError as error:
        return f"Optuna's study stays: {error}"
    return f"Optuna's {database.shown}: deleted"


def _record(paths: StudyPaths) -> StudyRecord | None:
    """Return the study's record, None for one that cannot be read: it can still be deleted."""
    try:
        return read_record(paths.record)
    except StudyError as error:
        _LOGGER.warning("%s", error)
        return None


def _size_in(remote: "Location") -> tuple[int, int]:
    with bucket_errors():
        sizes = [entry.n_bytes for entry in remote.list(recursive=True) if entry.is_file]
    return len(sizes), sum(sizes)


def _size(folder: Path) -> tuple[int, int]:
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
