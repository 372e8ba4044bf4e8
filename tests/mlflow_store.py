"""A store of MLflow, made once: its tables take MLflow seconds, and few tests are about that."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.databases import sqlite_uri

WithStore = Callable[[Path], Path]


@pytest.fixture(scope="session")
def with_store(tmp_path_factory: pytest.TempPathFactory) -> WithStore:
    """A function that makes a studies folder in which MLflow has an empty store; returns it."""
    from ucluster_tune.tracking.mlflow.store import make_sqlite_store

    made = StudiesFolder(tmp_path_factory.mktemp("store")).mlflow_db
    make_sqlite_store(sqlite_uri(made))

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, StudiesFolder(folder).mlflow_db)
        return folder

    return make
