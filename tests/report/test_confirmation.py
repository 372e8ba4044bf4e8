"""A confirmation as it is told while it runs, in status, and at its end."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.study_answers import PLAN, confirmation, result
from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_tables import confirmation_summary
from ucluster_tune.report.live import LiveTable
from ucluster_tune.report.study_tables import status_view
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord


def record_of(events: list[Any]) -> StudyRecord:
    record = StudyRecord(started())
    search = [trial_started("0001"), epoch("0001", 3, 0.7), trial_ended("0001", "complete", 6)]
    for event in (*search, StudyEnded(state="complete"), *events):
        record.apply(event)
    return record


def text_of(view: Any) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(view)
    return console.export_text()


def test_end_tells_the_answer_in_words_first_and_fits_a_terminal() -> None:
    text = text_of(confirmation_summary(record_of(confirmation())))
    assert text.startswith(result().words[0])
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "66.0 %" in rows["trial 0001"]
    assert "64.0 %" in rows["published recipe"]
    difference = rows["the published recipe"]
    for told in ("+2.0", "+0.0 to +4.0", "90 %"):
        assert told in difference


def test_end_names_the_report_where_one_was_written(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "jets")
    record = record_of(confirmation())
    without = text_of(confirmation_summary(record, paths))
    assert "Report:" not in without
    assert "Its network: " in without
    assert "export jets" in without
    paths.report.mkdir(parents=True)
    paths.report_page.write_text("<html>")
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(confirmation_summary(record, paths), crop=False)
    assert console.export_text().endswith(f"\nReport: {cells.shown_path(paths.report_page)}\n")


def test_status_tells_the_answer() -> None:
    assert result().words[0] in text_of(status_view(record_of(confirmation())))


def test_confirmation_that_was_interrupted_is_told_with_the_way_on() -> None:
    record = record_of(confirmation(is_ended=False))
    for view in (status_view(record), confirmation_summary(record)):
        words = " ".join(text_of(view).split())
        assert "Confirmation c1: 2 of 4 trainings are done; carry it on with" in words
        assert "`ucluster-tune confirm jets`" in words


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_happens_is_told_line_by_line(is_terminal: bool) -> None:
    out = io.StringIO()
    live = LiveTable(Console(file=out, width=200, force_terminal=is_terminal, color_system=None))
    events = confirmation()
    record = record_of(events[:3])
    live.on_study_start(study_config(), record)
    for event in events[3:]:
        record.apply(event)
        live.on_event(event, record)
    live.on_study_end(record)
    told = [line[9:] for line in out.getvalue().splitlines()]
    seed = PLAN.seeds[0]
    assert told[:5] == [
        f"trial 0001, seed {seed}, started",
        f"trial 0001, seed {seed}, epoch 3/6 clustering: accuracy 99.0 %",
        f"trial 0001, seed {seed}, complete after epoch 6",
        f"trial 0001, seed {seed}, 66.0 % of test jets",
        f"the published recipe, seed {seed}, started",
    ]
    assert "confirmation c1 is finished" in told
