"""A server that speaks S3, on this machine alone: moto's, with credentials in the environment."""

import json
import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_UNSET = ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "NO_PROXY")


class S3Server:
    """The server, as a test uses it from outside."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    def make_bucket(self, name: str) -> str:
        """Make an empty bucket; returns its URI."""
        self._put(name, b"")
        return f"s3://{name}"

    def put(self, bucket: str, key: str, contents: bytes) -> None:
        """Write an object."""
        self._put(f"{bucket}/{key}", contents)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object."""
        request = urllib.request.Request(f"{self.endpoint}/{bucket}/{key}", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()

    def upload(self, folder: Path, bucket: str, prefix: str = "jets") -> str:
        """Copy the files of a folder; returns the URI of the copy."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(bucket, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    def age(self, bucket: str, key: str, seconds: float) -> None:
        """Have an object written so long ago, by the server's own clock."""
        from moto.s3.models import s3_backends

        for account in s3_backends.values():
            for backend in account.values():
                if bucket in backend.buckets:
                    written = backend.buckets[bucket].keys[key]
                    written.last_modified -= timedelta(seconds=seconds)

    def reset(self) -> None:
        """Forget all buckets."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"

    def _put(self, name: str, contents: bytes) -> None:
        request = urllib.request.Request(f"{self.endpoint}/{name}", contents, method="PUT")
        # urllib would call it a form, which moto then waits for the rest of.
        request.add_header("Content-Type", "application/octet-stream")
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def running_s3_server() -> Iterator[S3Server]:
    """Give a server on a free port of loopback until the end."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
    threaded = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    try:
        yield S3Server(threaded.get_host_and_port()[1])
    finally:
        threaded.stop()


def name_s3_server(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Name a server and credentials in the environment."""
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_service() -> Iterator[S3Server]:
    """One server for all tests; the environment does not name it yet."""
    with running_s3_server() as server:
        yield server


@pytest.fixture
def s3_server(s3_service: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server without any buckets, named by the environment."""
    s3_service.reset()
    name_s3_server(monkeypatch, s3_service.endpoint)
    return s3_service
