"""Where a database's password comes from; no server is needed."""

import getpass
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.dashboards.stores import (
    DashboardDatabase,
    DashboardFile,
    dashboard_store,
)
from ucluster_tune.tracking.databases import is_locked, sqlite_uri, with_password

URL = "postgresql+pg8000://ann@db:5433/mlflow"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGUSER", "UCLUSTER_TUNE_OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write_pgpass(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)


def test_the_first_line_that_fits_gives_the_password(home: Path) -> None:
    write_pgpass(
        home / ".pgpass",
        "# of the group",
        "other:5433:mlflow:ann:wrong",
        "db:5432:mlflow:ann:wrong",
        "db:*:optuna:*:wrong",
        r"db:5433:*:ann:p\:w/@ d\\",
        "*:*:*:*:wrong",
    )
    assert with_password(URL) == "postgresql+pg8000://ann:p%3Aw%2F%40 d%5C@db:5433/mlflow"


def test_a_password_that_is_named_nearer_comes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pgpass(home / ".pgpass", "*:*:*:*:of_the_home")
    write_pgpass(home / "named", "*:*:*:*:of_the_file")
    assert ":of_the_home@" in with_password(URL)
    monkeypatch.setenv("PGPASSFILE", str(home / "named"))
    assert ":of_the_file@" in with_password(URL)
    monkeypatch.setenv("PGPASSWORD", "of_the_environment")
    assert ":of_the_environment@" in with_password(URL)
    assert with_password("postgresql://ann:own@db/mlflow") == "postgresql://ann:own@db/mlflow"


def test_without_a_password_and_for_other_stores_nothing_changes() -> None:
    for uri in (URL, "http://tracking:5000", "sqlite:////a/b.db", "mysql://ann@db/mlflow"):
        assert with_password(uri) == uri


def test_a_url_without_a_user_gets_the_one_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert with_password("postgresql://db/a") == f"postgresql://{getpass.getuser()}@db/a"
    monkeypatch.setenv("PGUSER", "bob")
    assert with_password("postgresql://db/a") == "postgresql://bob@db/a"


def test_a_password_file_that_others_may_read_is_refused(home: Path) -> None:
    write_pgpass(home / ".pgpass", "*:*:*:*:secret")
    (home / ".pgpass").chmod(0o640)
    with pytest.raises(StudyError, match=rf"chmod 600 {home}/\.pgpass") as caught:
        with_password(URL)
    assert "secret" not in str(caught.value)


def test_a_url_that_cannot_be_read_is_refused_without_a_piece_of_its_password() -> None:
    with pytest.raises(StudyError, match="is not the URL of a database") as caught:
        with_password("postgresql://ann:pass@word:secret@db:port/a")
    assert "secret" not in str(caught.value)
    assert "word" not in str(caught.value).replace("password", "")


def test_studies_are_shown_in_their_folders_or_in_the_database_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = StudiesFolder(tmp_path).study("jets")
    assert isinstance(dashboard_store(TrackingConfig(), paths, "0123456789"), DashboardFile)
    monkeypatch.setenv("UCLUSTER_TUNE_OPTUNA_STORAGE", "postgresql://ann:secret@db/other")
    store = dashboard_store(TrackingConfig(), paths, "0123456789")
    assert store.shown == "study jets-01234567 of postgresql://ann@db/other"
    named = TrackingConfig(optuna_storage="postgresql://db/optuna")
    store = dashboard_store(named, paths, "0123456789")
    assert isinstance(store, DashboardDatabase)
    assert store.shown == "study jets-01234567 of postgresql://db/optuna"
    monkeypatch.setenv("UCLUSTER_TUNE_OPTUNA_STORAGE", "sqlite:///optuna.db")
    with pytest.raises(StudyError, match="UCLUSTER_TUNE_OPTUNA_STORAGE: must be the URL"):
        dashboard_store(TrackingConfig(), paths, "0123456789")


def failure_of(path: Path, statement: str) -> BaseException:
    """Return what SQLAlchemy raises, within what Optuna would."""
    engine = create_engine(sqlite_uri(path), connect_args={"timeout": 0})
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(text(statement))
    failure = StorageInternalError("An exception is raised during the commit.")
    failure.__cause__ = caught.value
    return failure


def test_a_file_that_is_held_is_told_from_one_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert is_locked(failure_of(path, "SELECT 1 FROM sqlite_master"))
    assert not is_locked(failure_of(path, "SELECT 1 FROM locked"))
    path.write_bytes(b"database is locked" * 100)
    assert not is_locked(failure_of(path, "SELECT 1 FROM sqlite_master"))
