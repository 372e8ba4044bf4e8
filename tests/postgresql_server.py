"""A PostgreSQL server of Debian's package, on this machine alone, that asks for a password."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER = "physicist"
_INSTALLED = Path("/usr/lib/postgresql")  # Debian; a folder a version
_LIMIT_S = 60


class PostgresqlServer:
    """The server, as a test uses it from outside.

    Attributes:
        password: of `USER`; unlike anything else, so that it can be searched for.
        port: of 127.0.0.1.
    """

    def __init__(self, programs: Path, folder: Path, account: pwd.struct_passwd | None) -> None:
        self._programs, self._folder, self._account = programs, folder, account
        self._data, self._sockets = folder / "data", folder / "sockets"
        self._n_databases = 0
        self.password = f"secret-{secrets.token_hex(8)}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def make(self) -> None:
        """Make the server's files."""
        self._sockets.mkdir(mode=0o700)
        password = self._folder / "password"
        password.write_text(self.password)
        for path in (self._folder, self._sockets, password):
            if self._account:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        self._call(
            *("initdb", "--pgdata", self._data, "--username", USER, "--pwfile", password),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        password.unlink()

    def start(self) -> None:
        """Start the server, and return once it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._sockets,
            "fsync": "off",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._call(
            *("pg_ctl", "start", "--pgdata", self._data, "--wait", "--timeout", str(_LIMIT_S)),
            *("--log", self._folder / "log", "--options", options),
        )

    def stop(self) -> None:
        """End the server, and every connection with it."""
        self._call("pg_ctl", "stop", "--pgdata", self._data, "--mode", "fast", "--wait")

    def end(self) -> None:
        """Leave nothing running."""
        if (self._data / "postmaster.pid").exists():
            self._call("pg_ctl", "stop", "--pgdata", self._data, "--mode", "immediate", "--wait")

    def make_database(self) -> str:
        """Make an empty database; returns its URL, with the user and without the password."""
        self._n_databases += 1
        name = f"made{self._n_databases}"
        self._client("createdb", name)
        return f"postgresql+pg8000://{USER}@127.0.0.1:{self.port}/{name}"

    def with_password(self, url: str) -> str:
        """The URL as a client needs it that knows no other place for the password."""
        return url.replace("@", f":{self.password}@")

    def dump(self, url: str) -> str:
        """All that a database holds, as text."""
        return self._client("pg_dump", url.rpartition("/")[2])

    def pgpass(self, folder: Path) -> Path:
        """A password file for this server; returns its path."""
        path = folder / "pgpass"
        path.write_text(f"# the tests'\n127.0.0.1:{self.port}:*:{USER}:{self.password}\n")
        path.chmod(0o600)
        return path

    def _client(self, program: str, name: str) -> str:
        address = ("--host", self._sockets, "--port", str(self.port), "--username", USER)
        return self._call(program, *address, name, PGPASSWORD=self.password)

    def _call(self, program: str, *arguments: object, **variables: str) -> str:
        options: dict[str, Any] = {}
        if self._account:  # PostgreSQL refuses to run as root
            owner = self._account
            options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        output = self._folder / "output"  # no pipe: the server would hold it open
        with output.open("wb") as file:
            done = subprocess.run(
                [self._programs / program, *map(str, arguments)],
                cwd=self._folder,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=2 * _LIMIT_S,
                check=False,
                **options,
            )
        said = output.read_text()
        assert done.returncode == 0, f"{program}: {said}"
        return said


def _programs() -> Path:
    versions = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("no PostgreSQL server here: apt install postgresql")
    return Path(found).resolve().parent


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as where this process is root's."""
    if os.geteuid() != 0:
        return None
    names: Sequence[str] = ("postgres", "nobody")
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in names if name in known)


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """Give a new server until the end."""
    programs = _programs()
    # Not pytest's own folder: another account may not look into that.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        server = PostgresqlServer(programs, Path(folder), _account())
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.end()


@pytest.fixture(scope="session")
def postgresql_service() -> Iterator[PostgresqlServer]:
    """One server for all tests."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def postgresql_server(
    postgresql_service: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> PostgresqlServer:
    """The server, running, with its password in the file that PGPASSFILE names."""
    for name in ("PGPASSWORD", "PGUSER", "MLFLOW_TRACKING_URI", "UCLUSTER_TUNE_OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", str(postgresql_service.pgpass(tmp_path)))
    return postgresql_service
