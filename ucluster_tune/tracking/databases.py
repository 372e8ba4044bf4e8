"""Database servers behind MLflow and Optuna's dashboards: passwords, and whether one answers.

Knows nothing of studies. A URL without a password gets it from where PostgreSQL's own programs
take it, so that none has to stand in a file of a study.
"""

import getpass
import os
import re
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucluster_tune.config.passwords import hide_passwords, uri_without_password
from ucluster_tune.errors import StudyError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

ANSWER_TIMEOUT_S = 20.0  # of a connection and of each answer
_LOCK_TIMEOUT_S = 60
_NO_ENTRY = "; the password comes from PGPASSWORD, else from ~/.pgpass"
_WAYS_OUT = {  # by PostgreSQL's codes
    "28P01": _NO_ENTRY,
    "28000": _NO_ENTRY,
    "3D000": "; make it with PostgreSQL's `createdb`",
}


def sqlite_uri(path: Path) -> str:
    """Return the URI of an SQLite file; a % in its path would begin an escape.

    >>> sqlite_uri(Path("/data/a%20b/mlflow.db"))
    'sqlite:////data/a%2520b/mlflow.db'
    """
    return f"sqlite:///{str(path).replace('%', '%25')}"


def is_database_server(uri: str) -> bool:
    """Return whether a URI names a database that a server of its own keeps."""
    return "://" in uri and not uri.startswith(("http://", "https://", "sqlite:", "file:"))


def with_password(uri: str) -> str:
    """Return a PostgreSQL URL with user and password; any other URI as it is.

    What it lacks comes from PGUSER, else the name of who runs this, and from PGPASSWORD, else the
    file that PGPASSFILE names, else ~/.pgpass.

    Raises:
        StudyError: the URL cannot be read, or the file is open to others.
    """
    if not uri.startswith("postgresql"):
        return uri
    url = _parsed(uri)
    if url.username is None:
        url = url.set(username=os.environ.get("PGUSER") or getpass.getuser())
    if url.password is None and "password" not in url.query:
        password = os.environ.get("PGPASSWORD") or _from_file(url)
        url = url.set(password=password) if password else url
    return url.render_as_string(hide_password=False)


def _parsed(uri: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(uri)
    except (ArgumentError, ValueError):  # whose text may hold a piece of the password
        raise StudyError(
            f"{uri_without_password(uri)}: is not the URL of a database, such as"
            " postgresql+pg8000://user@host:5432/database; write special characters of a password"
            " as %xx"
        ) from None


def _from_file(url: "URL") -> str | None:
    path = Path(os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StudyError(
                f"{path}: holds passwords and is open to others: type `chmod 600 {path}`"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from error
    wanted = (url.host or "localhost", str(url.port or 5432), url.database or "", url.username)
    for line in lines:
        if line.startswith("#"):
            continue
        *found, password = _fields(line)
        if len(found) == 4 and all(
            field in ("*", want) for field, want in zip(found, wanted, strict=True)
        ):
            return password
    return None


def _fields(line: str) -> list[str]:
    r"""Return the five fields of a line of ~/.pgpass.

    >>> _fields(r"db:5432:*:ann:se\:cret")
    ['db', '5432', '*', 'ann', 'se:cret']
    """
    return [re.sub(r"\\(.)", r"\1", field) for field in re.findall(r"(?:\\.|[^:\\])+", line)]


def is_locked(error: BaseException) -> bool:
    """Return whether an error says that another process holds an SQLite file."""
    link: BaseException | None = error
    while link is not None:  # SQLAlchemy's, and Optuna's around that
        code = getattr(link, "sqlite_errorcode", 0) & 0xFF  # what is above says how it is held
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return True
        link = link.__cause__
    return False


def refuse_unreachable(uri: str, whose: str) -> None:
    """Raise StudyError at once where a database server does not let this process in.

    Args:
        uri: with the password.
        whose: such as "MLflow's database".
    """
    with _connection(uri, whose):
        pass


@contextmanager
def one_at_a_time(uri: str, whose: str) -> Iterator[None]:
    """Keep other processes of this program from the same: tables are made by one alone.

    Of databases other than PostgreSQL's nothing is held.
    """
    if not uri.startswith("postgresql"):
        yield
        return
    number = zlib.crc32(b"ucluster-tune makes tables")
    with _connection(uri, whose) as connection:
        from sqlalchemy import text

        connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
        connection.execute(text(f"SELECT pg_advisory_lock({number})"))
        yield  # the lock ends with the connection


@contextmanager
def _connection(uri: str, whose: str) -> Iterator[Any]:
    from sqlalchemy.exc import SQLAlchemyError

    engine = connect(uri)
    try:
        opened = engine.connect()
    except (SQLAlchemyError, OSError) as error:
        raise StudyError(f"{whose} {uri_without_password(uri)}: {in_words(error)}") from error
    except AttributeError as error:  # all that pg8000 says to a server that asks for a password
        raise StudyError(
            f"{whose} {uri_without_password(uri)}: wants a password, and none was found: put it"
            " into ~/.pgpass, or set PGPASSWORD"
        ) from error
    try:
        with opened as connection:
            yield connection
    finally:
        engine.dispose()


def connect(uri: str) -> "Engine":
    """Return an engine; nothing is opened yet.

    Raises:
        StudyError: the driver that the URL names is not installed.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return create_engine(uri, **engine_arguments(uri))
    except (ImportError, SQLAlchemyError) as error:
        raise StudyError(
            f"{uri_without_password(uri)}: {hide_passwords(str(error))}; PostgreSQL is reached"
            " through pg8000: write postgresql+pg8000://"
        ) from error


def engine_arguments(uri: str) -> dict[str, Any]:
    """Return SQLAlchemy's settings for connections that end after use and do not wait for ever.

    A server that restarts ends them all, so none is kept for the next time.
    """
    from sqlalchemy.pool import NullPool

    limit = {"timeout": ANSWER_TIMEOUT_S} if uri.startswith("postgresql+pg8000") else {}
    return {"poolclass": NullPool, "connect_args": limit}


def in_words(error: BaseException) -> str:
    """Return in one line what a database said and what to do, without SQL and passwords."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    if isinstance(cause.__cause__, OSError):  # below pg8000's own error
        reason = cause.__cause__.strerror or cause.__cause__
        return f"cannot be reached: {reason}; start it, or mend host and port"
    said = cause.args[0] if cause.args else ""
    if isinstance(said, dict):  # as pg8000 has PostgreSQL's messages
        return f"{said.get('M', said)}{_WAYS_OUT.get(said.get('C', ''), '')}"
    text = str(said).strip() or type(cause).__name__
    return hide_passwords(text.splitlines()[0])[:400]
