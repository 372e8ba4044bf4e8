"""Optuna's own dashboard on one study; optuna-dashboard is an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ucluster_tune.errors import StudyError
from ucluster_tune.tracking.dashboards.stores import DashboardStore


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing of what a browser asks for."""


@contextmanager
def dashboard_server(store: DashboardStore, host: str, port: int) -> Iterator[tuple[_Server, str]]:
    """Give a server, which waits to serve, and the address of the study's page.

    Args:
        store: where the study is.
        host: address to listen on.
        port: free; 0 takes any.

    Raises:
        StudyError: optuna-dashboard is not installed, or there is no such study.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise StudyError(
            "optuna-dashboard is not installed; `uv pip install optuna-dashboard` in the folder of"
            " ucluster-tune brings it (.uv/bin/uv where `make install` fetched uv)"
        ) from error
    found = store.find()
    if found is None:
        raise StudyError(
            f"{store.shown}: holds no study yet; `ucluster-tune repair NAME` makes it"
        )
    storage, study_id, _trials = found
    with make_server(host, port, wsgi(storage), _Server, _Handler) as server:
        shown = f"[{host}]" if ":" in host else host
        yield server, f"http://{shown}:{server.server_port}/dashboard/studies/{study_id}"
