import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.patience import wait_until
from ucluster_tune.study.driver_process import DriverProcess
from ucluster_tune.study.lock import DriverLock, is_driven
from ucluster_tune.study.paths import StudiesFolder, StudyPaths

HOLD = """
import sys
from pathlib import Path
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudyPaths
with DriverLock(StudyPaths(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""
FORK = """
import os, time
if os.fork() == 0:
    time.sleep(60)
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyPaths:
    paths = StudiesFolder(tmp_path).study("jets")
    paths.root.mkdir()
    return paths


def hold(study: StudyPaths, code: str = HOLD) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(study.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def other_driver(study: StudyPaths) -> "Iterator[subprocess.Popen[str]]":
    with hold(study) as process:
        yield process
        process.kill()


def test_second_driver_is_refused_and_told_who_is_first(
    study: StudyPaths, other_driver: "subprocess.Popen[str]"
) -> None:
    since = json.loads(study.driver.read_text())["since"]
    with pytest.raises(StudyError) as caught, DriverLock(study):
        pass
    for told in (str(other_driver.pid), socket.gethostname(), since, "status jets"):
        assert told in str(caught.value)
    assert is_driven(study)


def test_killed_driver_does_not_block(
    study: StudyPaths, other_driver: "subprocess.Popen[str]"
) -> None:
    other_driver.send_signal(signal.SIGKILL)
    other_driver.wait()
    assert study.driver.exists()
    assert not is_driven(study)
    with DriverLock(study):
        assert is_driven(study)


def test_orphan_of_a_killed_driver_does_not_block(study: StudyPaths) -> None:
    forking = HOLD.replace('    print("held"', FORK.replace("\n", "\n    ") + '\n    print("held"')
    with hold(study, forking) as process:
        orphans = psutil.Process(process.pid).children()
        assert len(orphans) == 1
        process.kill()
        process.wait()
        try:
            with DriverLock(study):
                assert is_driven(study)
        finally:
            orphans[0].kill()


def test_driver_that_ended_in_order_leaves_no_trace(study: StudyPaths) -> None:
    with DriverLock(study):
        assert is_driven(study)
    assert not study.driver.exists()
    assert not is_driven(study)


def test_process_that_got_the_number_of_a_dead_driver_is_not_it(study: StudyPaths) -> None:
    driver = DriverProcess.here()
    assert driver.is_alive()
    earlier = replace(driver, started_s_after_boot=driver.started_s_after_boot - 5)
    study.driver.write_text(json.dumps(asdict(earlier)))
    assert not is_driven(study)


def test_driver_on_another_host_counts_while_the_lock_is_held(
    study: StudyPaths, other_driver: "subprocess.Popen[str]"
) -> None:
    elsewhere = json.loads(study.driver.read_text()) | {"host": "elsewhere", "pid": 1}
    study.driver.write_text(json.dumps(elsewhere))
    assert is_driven(study)
    other_driver.kill()
    other_driver.wait()
    assert not is_driven(study)


def test_readers_never_keep_a_driver_out(study: StudyPaths) -> None:
    elsewhere = asdict(replace(DriverProcess.here(), host="elsewhere"))
    found = study.root / "found"
    probe = f"""
import sys
from pathlib import Path
from ucluster_tune.study.lock import is_driven
from ucluster_tune.study.paths import StudyPaths
print("held", flush=True)
with open({str(found)!r}, "w", buffering=1) as found:
    while True:
        found.write("yes\\n" if is_driven(StudyPaths(Path({str(study.root)!r}))) else "no\\n")
"""
    study.driver.write_text(json.dumps(elsewhere))

    def take_and_leave() -> bool:
        with DriverLock(study):
            study.driver.write_text(json.dumps(elsewhere))
        study.driver.write_text(json.dumps(elsewhere))
        return found.exists() and found.read_text().count("no") >= 10  # so often it had the lock

    with hold(study, probe) as reader:
        try:
            assert wait_until(take_and_leave, limit_s=120, every_s=0)
        finally:
            reader.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "x"}', '{"host": 1, "pid": "a"}'])
def test_damaged_driver_file_counts_as_none(study: StudyPaths, text: str) -> None:
    study.driver.write_text(text)
    assert not is_driven(study)


def test_lock_is_free_again_when_its_holder_could_not_be_named(study: StudyPaths) -> None:
    study.driver.mkdir()
    first = DriverLock(study)
    with pytest.raises(StudyError, match="cannot be locked"):
        first.__enter__()
    study.driver.rmdir()
    with DriverLock(study):
        pass


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "jets").touch()  # root may write anywhere but into a file
    with pytest.raises(StudyError, match="cannot be locked"):
        DriverLock(StudyPaths(tmp_path / "jets")).__enter__()
