"""Locations: local paths and S3, and every fault as one clear error within a bounded time."""

import pickle
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.s3_server import name_s3_server
from ucluster_tune.errors import DataError, MissingError, UnreachableError
from ucluster_tune.storage.locations import Location, locate


@pytest.fixture(params=["path", "file", "s3"])
def folder(request, tmp_path):
    """An empty folder of each kind."""
    if request.param == "s3":
        return locate(request.getfixturevalue("s3_server").make_bucket("jets")) / "wzt"
    return locate(tmp_path / "wzt" if request.param == "path" else f"file://{tmp_path}/wzt")


def test_what_is_written_is_read(folder):
    file = folder / "a" / "jets.bin"
    assert file.kind() == "missing"
    file.write_bytes(b"first")
    file.write_bytes(b"all of it")
    assert file.read_bytes() == b"all of it"
    assert file.read_bytes(3) == b"all"
    assert file.n_bytes() == 9
    with file.open_input() as stream:
        assert stream.read_at(2, 4) == b"of"
    assert (file.kind(), (folder / "a").kind(), (folder / "b").exists()) == (
        "file",
        "folder",
        False,
    )


def test_a_folder_is_listed_by_name(folder):
    assert folder.list() == ()
    for name in ("b.bin", "a.bin", "trials/1.bin"):
        (folder / name).write_bytes(name.encode())
    found = [(e.name, e.is_file) for e in folder.list()]
    assert found == [("a.bin", True), ("b.bin", True), ("trials", False)]
    names = [e.name for e in folder.list(recursive=True) if e.is_file]
    assert names == ["a.bin", "b.bin", "trials/1.bin"]
    assert [e.n_bytes for e in folder.list() if e.is_file] == [5, 5]


def test_a_folder_is_deleted_with_all_in_it(folder):
    for name in ("keep", "trials/1/a", "trials/2"):
        (folder / name).write_bytes(b"x")
    (folder / "trials").delete()
    (folder / "trials").delete()  # nothing is there to do
    (folder / "trials/2").delete()
    assert [e.name for e in folder.list(recursive=True)] == ["keep"]
    (folder / "keep").delete()
    assert folder.list() == ()


def test_what_is_missing_says_so(folder):
    with pytest.raises(MissingError, match=r"wzt/a: missing"):
        (folder / "a").read_bytes()
    with pytest.raises(MissingError):
        (folder / "a").n_bytes()
    with pytest.raises(MissingError):
        (folder / "a").open_input()


def test_a_location_travels_to_another_process(folder):
    (folder / "a").write_bytes(b"x")
    assert pickle.loads(pickle.dumps(folder / "a")).read_bytes() == b"x"


def test_an_interrupted_write_leaves_the_old_file(folder, monkeypatch):
    if not folder.is_local:
        pytest.skip("an S3 server shows an object when it has it all")
    file = folder / "a"
    file.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        file.write_bytes(b"new")
    assert file.read_bytes() == b"old"
    assert [e.name for e in folder.list()] == ["a"]


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("jets").local_path == tmp_path / "jets"
    assert locate(Path("jets")) == locate(locate("jets"))
    assert (locate("jets") / "a.parquet").text == f"{tmp_path}/jets/a.parquet"
    assert locate("~").local_path == Path.home()


def test_options_stay_behind_the_path():
    file = locate("s3://jets//wzt/?region=eu-north-1") / "train-00000.parquet"
    assert file.text == "s3://jets/wzt/train-00000.parquet?region=eu-north-1"
    assert file.name == "train-00000.parquet"


def test_the_endpoint_may_stand_in_the_uri(s3_server, monkeypatch):
    s3_server.make_bucket("jets")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    file = locate(f"s3://jets/a?endpoint_override=127.0.0.1:{s3_server.port}&scheme=http")
    file.write_bytes(b"x")
    assert file.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://", "names no bucket"),
        ("s3:///wzt", "names no bucket"),
        ("abfs://jets@account.dfs.core.windows.net/wzt", "abfs:// cannot be read"),
        ("s3://jets/wzt?regoin=x", "unknown option 'regoin'"),
        ("s3://key:secret@jets/wzt", "credentials do not belong"),
        ("s3://jets/../wzt", "cannot have .."),
    ],
)
def test_a_wrong_uri_is_refused_at_once(text, told):
    with pytest.raises(DataError, match=told) as caught:
        locate(text)
    assert "secret" not in str(caught.value)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(DataError, match=r"unknown scheme ftp://; use a path, s3://"):
        locate("ftp://host/jets").read_bytes()


def test_a_missing_bucket_is_named(s3_server):
    for act in (
        lambda place: place.read_bytes(),
        lambda place: place.open_input(),
        lambda place: place.write_bytes(b"x"),
        lambda place: place.list(),
    ):
        with pytest.raises(MissingError, match="there is no bucket nowhere") as caught:
            act(locate("s3://nowhere/wzt"))
        assert s3_server.endpoint in str(caught.value)


def test_a_whole_bucket_is_never_deleted(s3_server):
    bucket = locate(s3_server.make_bucket("jets"))
    (bucket / "a").write_bytes(b"x")
    with pytest.raises(DataError, match="whole bucket"):
        bucket.delete()
    assert (bucket / "a").exists()


@contextmanager
def answering(status: int, code: str):
    """A server that refuses everything."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_credentials_are_told(monkeypatch, code):
    with answering(403, code) as endpoint:
        name_s3_server(monkeypatch, endpoint)
        for act in (Location.read_bytes, Location.list, Location.kind):
            with pytest.raises(DataError, match=r"access is refused; check AWS_ACCESS_KEY_ID"):
                act(locate("s3://jets/wzt"))


def test_missing_credentials_are_told(monkeypatch, tmp_path):
    with answering(403, "AccessDenied") as endpoint:
        name_s3_server(monkeypatch, endpoint)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(DataError, match="no credentials were found: set AWS_ACCESS_KEY_ID"):
            locate("s3://jets/wzt").list()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("ucluster_tune.storage.locations._SILENCE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("ucluster_tune.storage.locations._MAX_ATTEMPTS", 2)


def test_a_server_that_is_down_is_told_soon(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name_s3_server(monkeypatch, f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=rf"does not answer.*127.0.0.1:{port}"):
        locate("s3://jets/wzt").read_bytes()
    assert time.monotonic() - started < 60


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_busy_is_out_of_reach(monkeypatch):
    with answering(503, "SlowDown") as endpoint:
        name_s3_server(monkeypatch, endpoint)
        with pytest.raises(UnreachableError, match="does not answer"):
            locate("s3://jets/wzt").list()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_nothing_is_left_in_the_end(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name_s3_server(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="does not answer"):
            locate("s3://jets/wzt").read_bytes()
        assert time.monotonic() - started < 60
