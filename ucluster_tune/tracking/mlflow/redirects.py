"""Short addresses on a port of this machine that lead to MLflow's long ones; knows no study."""

import re
import socket
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType

from ucluster_tune.tracking.mlflow.server import choose_port


class Redirects:
    """A server that answers each of its addresses with another one; a context manager.

    Args:
        targets: by name, where `http://HOST:PORT/NAME` leads to.
        host: address to listen on.
        for_browsers: by name, where Chromium and Firefox are led instead: addresses whose host is
            a name below localhost, which Safari and curl may not find.

    Attributes:
        addresses: by name, short.
    """

    def __init__(
        self,
        targets: Mapping[str, str],
        host: str = "127.0.0.1",
        for_browsers: Mapping[str, str] | None = None,
    ) -> None:
        named = for_browsers or {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                target = targets.get(name)
                if re.search("(Chrome|Firefox)/", self.headers.get("User-Agent", "")):
                    target = named.get(name, target)
                if target is None:
                    self.send_error(404, f"there are {', '.join(targets)}")
                    return
                self.send_response(302)
                self.send_header("Location", target)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

        self._server = Server((host, choose_port(host, None)), Handler)
        port = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        self.addresses = {name: f"http://{shown}:{port}/{name}" for name in targets}

    def __enter__(self) -> "Redirects":
        Thread(target=self._server.serve_forever, name="redirects", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
