"""A Zenodo on this machine's loopback, that can be told to misbehave."""

import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalZenodo:
    """Serves one record; `faults` are taken one for each request of a file.

    A fault is a function of the handler and the bytes asked for, and answers in its own way.
    """

    def __init__(self, files, number="3602254"):
        self.number = number
        self.files = dict(files)
        self.served = dict(files)  # what is sent, which may differ from what the record says
        self.faults = []
        self.record_faults = []
        self.ranges = []
        self.requests = []
        self.with_ranges = True
        self.change_record = lambda record: record
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # clients that go away are what these tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def record(self):
        return self.change_record(
            {
                "id": int(self.number),
                "doi": f"10.5281/zenodo.{self.number}",
                "metadata": {"title": "LHC jets"},
                "files": [
                    {
                        "key": name,
                        "size": len(data),
                        "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                        "links": {"self": f"{self.address}/files/{name}"},
                    }
                    for name, data in self.files.items()
                ],
            }
        )

    def answer(self, handler):
        self.requests.append(handler.path)
        if handler.path.startswith("/api/records/"):
            if self.record_faults:
                self.record_faults.pop(0)(handler, b"")
            elif handler.path == f"/api/records/{self.number}":
                send(handler, json.dumps(self.record()).encode())
            else:
                send(handler, b"{}", status=404)
            return
        data = self.served[handler.path.removeprefix("/files/")]
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.ranges.append(start)
        if self.faults:
            self.faults.pop(0)(handler, data[start:])
        elif not asked or not self.with_ranges:
            send(handler, data)
        elif start >= len(data):
            send(handler, b"", status=416)
        else:
            content_range = f"bytes {start}-{len(data) - 1}/{len(data)}"
            send(handler, data[start:], 206, {"Content-Range": content_range})


def send(handler, body, status=200, headers=None, length=None):
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def breaks_off(after):
    """Sends so many bytes of what was asked for, then closes the connection."""

    def fault(handler, data):
        asked = handler.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            total = start + len(data)
            headers = {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
            send(handler, data[:after], 206, headers, length=len(data))
        else:
            send(handler, data[:after], length=len(data))
        handler.close_connection = True

    return fault


def answers(status, **headers):
    """Answers with a status and no file."""

    def fault(handler, data):
        send(handler, b"", status, {k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def lies_about_length(by):
    """Declares more bytes than come, or fewer."""

    def fault(handler, data):
        send(handler, data, length=len(data) + by)
        handler.close_connection = True

    return fault


def stalls(seconds):
    """Says nothing for a while."""

    def fault(handler, data):
        send(handler, data[:10], length=len(data))
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True

    return fault


@contextmanager
def local_zenodo(files, **options):
    """A running server; ended with the block."""
    zenodo = LocalZenodo(files, **options)
    thread = threading.Thread(target=zenodo.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield zenodo
    finally:
        zenodo.server.shutdown()
        zenodo.server.server_close()
        thread.join(10)
