"""The report written again beside a search: seldom, one at a time, and never in its way."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.study_events import four_trials, study_config, trial_ended
from ucluster_tune.report.refreshing import ReportBeside
from ucluster_tune.storage.patience import wait_until
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder

ENDED = trial_ended("0004", "complete", 6)
Beside = Callable[..., tuple[ReportBeside, list[str]]]


@pytest.fixture
def study(tmp_path: Path) -> StudiesFolder:
    """A study of four trials, of which one runs."""
    folder = StudiesFolder(tmp_path)
    paths = folder.study("jets")
    paths.root.mkdir()
    with StudyJournal(paths.record) as journal:
        for event in four_trials():
            journal.append(event)
    return folder


@pytest.fixture
def beside(study: StudiesFolder) -> Beside:
    """A viewer, given a Python program that writes; and what it says."""

    def make(program: str, least_pause_s: float = 0.0) -> tuple[ReportBeside, list[str]]:
        said: list[str] = []
        command = [sys.executable, "-c", program]
        return ReportBeside(study, said.append, command, least_pause_s), said

    return make


def tell(viewer: ReportBeside, event: Any = ENDED) -> None:
    viewer.on_event(event, read_record(viewer._folder.study("jets").record))


def is_at_rest(viewer: ReportBeside) -> bool:
    return viewer._process is None


def test_one_at_a_time_by_the_least_urgent_process_and_then_a_pause(
    beside: Beside, tmp_path: Path
) -> None:
    gate, told = tmp_path / "gate", tmp_path / "told"
    os.mkfifo(gate)
    viewer, said = beside(
        f"open({str(gate)!r}).read(); open({str(told)!r}, 'a').write('once ')", least_pause_s=60
    )
    tell(viewer)
    assert viewer._process is not None
    assert psutil.Process(viewer._process.pid).nice() == 19
    tell(viewer)
    gate.write_text("")  # opens once the process reads
    assert wait_until(lambda: is_at_rest(viewer), 20)
    tell(viewer)
    assert is_at_rest(viewer)
    assert told.read_text() == "once "
    assert said == []


@pytest.mark.parametrize("program", ["raise SystemExit('no space')", None])
def test_failure_is_told_once_and_nothing_is_raised(
    beside: Beside, study: StudiesFolder, program: str | None
) -> None:
    viewer, said = beside(program or "")
    if program is None:
        viewer = ReportBeside(study, said.append, ["/nowhere/program"], 0.0)
    for _ in range(2):
        viewer._not_before_s = 0.0
        tell(viewer)
        assert wait_until(lambda: is_at_rest(viewer), 20)
    (line,) = said
    assert line.startswith("The report was not written again: ")
    assert ("no space" if program else "No such file") in line


def test_it_is_gone_before_the_search_writes_its_own(beside: Beside, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    viewer, said = beside(f"open({str(gate)!r}).read()")  # nobody ever writes
    tell(viewer)
    assert viewer._process is not None
    process = psutil.Process(viewer._process.pid)
    tell(viewer, StudyEnded(state="interrupted"))
    assert not process.is_running()
    tell(viewer)
    assert wait_until(lambda: is_at_rest(viewer), 20)
    assert said == []


@pytest.mark.slow  # twenty pictures
def test_page_is_written_and_has_a_browser_read_it_again(study: StudiesFolder) -> None:
    said: list[str] = []
    viewer = ReportBeside(study, said.append)
    viewer.on_study_start(study_config(), read_record(study.study("jets").record))
    page = study.study("jets").report_page
    assert str(page) in said[0]
    with DriverLock(study.study("jets")):  # it runs
        tell(viewer)
        assert wait_until(lambda: is_at_rest(viewer), 200)
    assert said[1:] == []
    assert '<meta http-equiv="refresh" content="60">' in page.read_text()
    assert {path.suffix for path in (page.parent / "figures").iterdir()} == {".svg"}
