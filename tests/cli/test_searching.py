import io
import re
import sys

import pytest
from rich.console import Console

from tests.study_events import four_trials, started, study_config, trial_ended
from tests.terminal import Terminal
from ucluster_tune.cli.studies.searching import show_search
from ucluster_tune.cluster.place import Place
from ucluster_tune.report.study_tables import final_summary
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.record import StudyRecord


def test_terminal_keeps_what_was_said_and_the_summary(monkeypatch, tmp_path) -> None:
    terminal = Terminal(240, 30)  # no command is wider, so that no line is folded
    for name, value in {"TERM": "xterm", "COLUMNS": "240", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    record = StudyRecord(started())

    def search(setting):
        table, _notice = setting.observers
        setting.say("Reading the jets")
        table.on_study_start(study_config(), record)
        for event in four_trials()[1:]:
            record.apply(event)
            table.on_event(event, record)
        terminal.echo_ctrl_c()
        setting.say("Stopping after the running epochs")
        for event in (trial_ended("0004", "interrupted", 1), StudyEnded(state="interrupted")):
            record.apply(event)
            table.on_event(event, record)
        table.on_study_end(record)
        return record

    assert show_search(search, str(tmp_path), Place(None, "as a test says")) == 130
    summary = Console(width=240, file=io.StringIO(), record=True)
    paths = open_studies(str(tmp_path)).study("jets")
    summary.print(final_summary(record, paths), crop=False)
    found = [line.rstrip() for line in summary.export_text().splitlines()]
    assert terminal.lines() == ["Reading the jets", "Stopping after the running epochs", *found]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_commands_of_the_summary_can_be_copied(monkeypatch, tmp_path, capsys, is_terminal) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    folder = tmp_path / ("a folder of studies " * 8).strip()
    record = StudyRecord(started())
    for event in (*four_trials()[1:], StudyEnded(state="interrupted")):
        record.apply(event)
    show_search(lambda setting: record, str(folder), Place(None, "as a test says"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    commands = [line for line in plain.splitlines() if "ucluster-tune " in line]
    assert len(commands) == 3
    for line in commands:
        assert line.endswith(f"jets --studies-dir '{folder}'")
