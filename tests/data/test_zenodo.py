"""Files of a record arrive whole, whatever the server and the network do."""

import shutil
import socket
import threading

import numpy as np
import pytest
from filelock import FileLock

from tests.zenodo_server import answers, breaks_off, lies_about_length, local_zenodo, stalls
from ucluster_tune.data.making import zenodo as module
from ucluster_tune.data.making.zenodo import (
    ADDRESS_VARIABLE,
    chosen_files,
    download_files,
    read_record,
    record_number,
)
from ucluster_tune.errors import DataError, MachineError
from ucluster_tune.storage.download import ServerPatience

QUICK = ServerPatience(tries=4, pause_s=0.001, longest_pause_s=0.01, timeout_s=2)
FILES = {
    "train.tar.gz": np.random.default_rng(0).bytes(1_000_000),
    "val.tar.gz": np.random.default_rng(1).bytes(300_000),
}


@pytest.fixture
def zenodo(monkeypatch):
    with local_zenodo(FILES) as server:
        monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
        yield server


def download(folder, *patterns, **options):
    """Fetches the record; returns the bytes counted for each file."""
    record = read_record("3602254", QUICK)
    counted: dict[str, int] = {}
    lock = threading.Lock()

    def count(name, n_bytes):
        with lock:
            counted[name] = counted.get(name, 0) + n_bytes

    files = chosen_files(record, patterns)
    download_files(files, folder, on_bytes=count, patience=QUICK, **options)
    return counted


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_record_is_read_and_its_files_arrive(zenodo, tmp_path):
    record = read_record("3602254", QUICK)
    assert (record.number, record.doi) == ("3602254", "10.5281/zenodo.3602254")
    assert record.title == "LHC jets"
    assert record.n_bytes == 1_300_000
    counted = download(tmp_path / "new" / "folder")
    assert content(tmp_path / "new" / "folder") == FILES
    assert counted == {name: len(data) for name, data in FILES.items()}


def test_files_that_are_there_are_checked_and_kept(zenodo, tmp_path):
    download(tmp_path)
    zenodo.requests.clear()
    assert download(tmp_path) == {name: len(data) for name, data in FILES.items()}
    assert zenodo.requests == ["/api/records/3602254"]
    (tmp_path / "val.tar.gz").write_bytes(FILES["val.tar.gz"][:-1] + b"x")
    with pytest.raises(DataError, match=r"val\.tar\.gz: is there, but is not the record's file"):
        download(tmp_path)


@pytest.mark.parametrize("patterns", [["train*"], ["train*", "t*"]])
def test_some_files_can_be_chosen(zenodo, tmp_path, patterns):
    download(tmp_path, *patterns)
    assert set(content(tmp_path)) == {"train.tar.gz"}
    with pytest.raises(DataError, match=r"no file \*\.h5; it has train\.tar\.gz, val\.tar\.gz"):
        download(tmp_path, "*.h5")


def test_a_connection_that_breaks_off_again_and_again_is_gone_on_with(zenodo, tmp_path):
    zenodo.faults = [breaks_off(90_000)] * 10
    counted = download(tmp_path, "train*")
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}
    assert zenodo.ranges == [90_000 * turn for turn in range(11)]
    assert counted == {"train.tar.gz": 1_000_000}


def test_a_break_without_any_byte_is_tried_only_so_often(zenodo, tmp_path):
    zenodo.faults = [breaks_off(50_000), *[breaks_off(0)] * 20]
    message = r"the connection broke off .*, 4 times in a row; check the network.* goes on where"
    with pytest.raises(MachineError, match=message):
        download(tmp_path, "train*")
    assert len(zenodo.ranges) == 5
    assert set(content(tmp_path)) == {".train.tar.gz.part"}
    zenodo.faults, zenodo.ranges = [], []
    counted = download(tmp_path, "train*")
    assert zenodo.ranges == [50_000]
    assert counted == {"train.tar.gz": 1_000_000}
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}


def test_a_server_without_ranges_starts_over(zenodo, tmp_path):
    zenodo.with_ranges = False
    zenodo.faults = [breaks_off(600_000)]
    counted = download(tmp_path, "train*")
    assert zenodo.ranges == [0, 600_000]
    assert counted == {"train.tar.gz": 1_000_000}
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}


def test_a_server_that_always_starts_over_and_breaks_is_given_up(zenodo, tmp_path):
    def whole_and_broken(handler, data):
        full = FILES["train.tar.gz"]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(full)))
        handler.end_headers()
        handler.wfile.write(full[:400_000])
        handler.close_connection = True

    zenodo.faults = [whole_and_broken] * 50
    with pytest.raises(MachineError, match="4 times in a row"):
        download(tmp_path, "train*")
    assert len(zenodo.ranges) == 5


@pytest.mark.parametrize("by", [5000, -5000])
def test_lies_about_the_length_do_no_harm(zenodo, tmp_path, by):
    zenodo.faults = [lies_about_length(by)]
    download(tmp_path, "train*")
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}


def test_more_bytes_than_the_record_says_are_not_taken(zenodo, tmp_path):
    zenodo.served["train.tar.gz"] += bytes(10_000)
    download(tmp_path, "train*")
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}


def test_fewer_bytes_than_the_record_says_are_an_error(zenodo, tmp_path):
    zenodo.served["train.tar.gz"] = zenodo.served["train.tar.gz"][:-1000]
    with pytest.raises(DataError, match=r"the server answers HTTP 416|the server sends"):
        download(tmp_path, "train*")
    assert "train.tar.gz" not in content(tmp_path)


def test_a_wrong_byte_is_found_and_the_file_fetched_once_more(zenodo, tmp_path):
    right = zenodo.served["train.tar.gz"]
    wrong = right[:500] + bytes([right[500] ^ 1]) + right[501:]

    def once_wrong(handler, data):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(wrong)))
        handler.end_headers()
        handler.wfile.write(wrong)

    zenodo.faults = [once_wrong]
    counted = download(tmp_path, "train*")
    assert content(tmp_path) == {"train.tar.gz": right}
    assert counted == {"train.tar.gz": len(right)}
    (tmp_path / "train.tar.gz").unlink()
    zenodo.served["train.tar.gz"] = wrong
    with pytest.raises(DataError, match="came twice with another checksum than the record's"):
        download(tmp_path, "train*")
    assert content(tmp_path) == {}


def test_a_partial_file_of_other_bytes_is_not_built_upon(zenodo, tmp_path):
    (tmp_path / ".train.tar.gz.part").write_bytes(bytes(70_000))
    download(tmp_path, "train*")
    (tmp_path / "train.tar.gz").unlink()
    (tmp_path / ".train.tar.gz.part").write_bytes(bytes(2_000_000))
    download(tmp_path, "train*")
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}


def test_a_busy_server_is_waited_for_as_it_asks(zenodo, tmp_path, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", fake_wait(waited))
    zenodo.faults = [answers(429, Retry_After="7"), answers(503), answers(502, Retry_After="soon")]
    said: list[str] = []
    download(tmp_path, "train*", say=said.append)
    assert content(tmp_path) == {"train.tar.gz": FILES["train.tar.gz"]}
    assert said == [
        f"{zenodo.address}/files/train.tar.gz: the server is busy (HTTP 429); trying again in 7 s"
    ]
    assert waited[0] == 7
    assert all(0 < seconds <= 0.01 for seconds in waited[1:])
    assert len(waited) == 3


def fake_wait(waited):
    real = threading.Event.wait

    def wait(self, timeout=None):
        in_download = threading.current_thread().name.startswith("fetch-")
        if timeout is None or not in_download:
            return real(self, timeout)
        waited.append(timeout)
        return self.is_set()

    return wait


def test_a_server_that_stays_busy_is_given_up(zenodo, tmp_path):
    zenodo.faults = [answers(503)] * 20
    with pytest.raises(MachineError, match=r"the server is busy \(HTTP 503\), 4 times in a row"):
        download(tmp_path, "train*")
    zenodo.faults = [answers(429, Retry_After="86400")]
    with pytest.raises(MachineError, match="asks to come back in 86400 s; the same command"):
        download(tmp_path, "train*")


def test_a_server_that_falls_silent_is_asked_again(zenodo, tmp_path):
    zenodo.faults = [stalls(5)]
    record = read_record("3602254", QUICK)
    hasty = ServerPatience(tries=3, pause_s=0.001, timeout_s=0.2)
    download_files(chosen_files(record, ["val*"]), tmp_path, patience=hasty)
    assert content(tmp_path) == {"val.tar.gz": FILES["val.tar.gz"]}


@pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
def test_a_file_that_is_refused_is_an_error_at_once(zenodo, tmp_path, status):
    zenodo.faults = [answers(status)]
    with pytest.raises(DataError, match=rf"the server answers HTTP {status}"):
        download(tmp_path, "train*")
    assert zenodo.ranges == [0]


def test_an_answer_for_other_bytes_is_refused(zenodo, tmp_path):
    zenodo.faults = [
        breaks_off(1000),
        answers(206, Content_Range="bytes 0-999999/1000000"),
    ]
    with pytest.raises(DataError, match="asked for bytes from 1000 of 1000000, the server sends"):
        download(tmp_path, "train*")


def test_when_one_file_fails_the_others_end_soon(zenodo, tmp_path):
    zenodo.faults = [stalls(8), answers(404)]
    with pytest.raises(DataError, match="HTTP 404"):
        download(tmp_path, at_a_time=2)


def test_no_network_is_an_error_of_the_machine(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv(ADDRESS_VARIABLE, f"http://127.0.0.1:{port}")
    with pytest.raises(MachineError, match=r"cannot be reached \(.*refused.*\), 4 times"):
        read_record("3602254", QUICK)
    monkeypatch.setenv(ADDRESS_VARIABLE, "zenodo.org")
    with pytest.raises(DataError, match="not an address"):
        read_record("3602254", QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [], "not a record that can be understood"),
        (lambda r: {**r, "files": []}, "has no files, or they are not open to all"),
        (lambda r: {**r, "id": "x"}, "id: Input should be a valid integer"),
        (lambda r: with_file(r, checksum="sha1:1"), "files.0.checksum"),
        (lambda r: with_file(r, size=-1), "files.0.size"),
        (lambda r: with_file(r, key="../escaped"), "'../escaped' is not safe"),
        (lambda r: with_file(r, key=".bashrc"), "is not safe"),
        (lambda r: with_file(r, key="/etc/passwd"), "is not safe"),
        (lambda r: with_file(r, key="a\nb"), "is not safe"),
        (lambda r: with_file(r, key=""), "is not safe"),
        (lambda r: with_file(r, key="val.tar.gz"), "names a file twice"),
        (lambda r: with_file(r, links={"self": "file:///etc/passwd"}), "files.0.links.self"),
    ],
)
def test_records_that_cannot_be_are_refused(zenodo, change, message):
    zenodo.change_record = change
    with pytest.raises(DataError) as caught:
        read_record("3602254", QUICK)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def with_file(record, **changes):
    first, *others = record["files"]
    return {**record, "files": [{**first, **changes}, *others]}


def test_a_record_that_is_not_there_is_said(zenodo):
    with pytest.raises(DataError, match="Zenodo has no record 17"):
        read_record("17", QUICK)
    zenodo.record_faults = [answers(503), answers(403)]
    with pytest.raises(DataError, match="the server answers HTTP 403"):
        read_record("3602254", QUICK)

    def endless(handler, data):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" " * 1_000_000)

    zenodo.record_faults = [endless]
    with pytest.raises(DataError, match="the answer is longer than"):
        read_record("3602254", QUICK)


def test_too_little_space_is_said_before_anything_is_fetched(zenodo, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_299_999)
    monkeypatch.setattr(module, "disk_usage", lambda path: usage)
    with pytest.raises(MachineError, match=r"1\.3 MB are to be fetched, and 1\.3 MB are free"):
        download(tmp_path)
    assert zenodo.ranges == []
    (tmp_path / ".train.tar.gz.part").write_bytes(FILES["train.tar.gz"][:10])
    download(tmp_path)


def test_two_downloads_into_one_folder_are_refused(zenodo, tmp_path):
    with (
        FileLock(tmp_path / ".download.lock"),
        pytest.raises(MachineError, match="another download into this folder is running"),
    ):
        download(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(zenodo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        download(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    "name",
    [
        "3602254",
        " 10.5281/zenodo.3602254 ",
        "doi:10.5281/ZENODO.3602254",
        "https://doi.org/10.5281/zenodo.3602254",
        "https://zenodo.org/records/3602254",
        "https://zenodo.org/record/3602254#files",
        "https://zenodo.org/records/3602254/files/x.tar.gz?download=1",
        "zenodo:3602254",
    ],
)
def test_a_record_has_many_names(name):
    assert record_number(name) == "3602254"


@pytest.mark.parametrize("name", ["", "jets", "10.1000/182", "https://example.org/records/1"])
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match="names no Zenodo record; give its number"):
        record_number(name)
