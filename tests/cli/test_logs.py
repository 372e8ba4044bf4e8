"""`ucluster-tune logs`, and `resume --all`."""

import io
import json
import re

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.study_answers import confirmation
from tests.study_events import four_trials, study_config
from ucluster_tune.cli.main import main
from ucluster_tune.report.live import LiveTable
from ucluster_tune.study.confirming import ConfirmationRequest
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The paths of a study that nobody drives, below the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UCLUSTER_TUNE_STUDIES", raising=False)
    paths = StudiesFolder(tmp_path / "studies").study("jets")
    paths.root.mkdir(parents=True)
    with StudyJournal(paths.record) as journal:
        for event in (*four_trials(), StudyEnded(state="failed")):
            journal.append(event)
    paths.log.write_text("".join(f"line {n}\n" for n in range(1, 101)))
    log = paths.trial("0002").workers_log
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\nepoch 2 \xff\n", encoding="latin-1")
    return paths


def invoke(*arguments):
    return CliRunner().invoke(main, arguments)


def test_the_last_lines_of_the_driver_are_shown(study):
    shown = invoke("logs", "jets", "--driver", "--lines", "2").stdout
    assert shown == "line 99\nline 100\n"
    assert invoke("logs", "jets", "--driver").stdout.startswith("line 51\n")


def test_a_study_is_told_in_the_lines_that_run_writes_without_a_terminal(study):
    events = four_trials()
    out = io.StringIO()
    live = LiveTable(Console(file=out, width=300))
    record = StudyRecord(events[0])
    live.on_study_start(study_config(), record)
    for event in events[1:]:
        record.apply(event)
        live.on_event(event, record)
    run = [line.partition(" ")[2].partition(", about")[0] for line in out.getvalue().splitlines()]
    lines = invoke("logs", "jets").stdout.splitlines()
    told = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines]
    assert told[:-1] == [line.partition(", under a")[0] for line in run]
    assert told[-1].startswith("study jets failed: 1 running, 1 complete")
    assert invoke("logs", "--lines", "3").stdout.splitlines() == lines[-3:]
    assert invoke("logs").stderr == "Study jets\n"


def test_the_events_are_there_as_json(study):
    lines = invoke("logs", "jets", "--json", "--lines", "1000").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == [e.event for e in four_trials()] + [
        "study_ended"
    ]
    own = invoke("logs", "jets", "--json", "--trial", "2").stdout.splitlines()
    assert {json.loads(line)["trial"] for line in own} == {"0002"}
    assert len(own) == 4
    assert invoke("logs", "jets", "--driver", "--json").exit_code == 2


def test_a_trial_has_a_log_of_its_own_with_whatever_bytes_are_in_it(study):
    for trial in ("0002", "2"):
        shown = invoke("logs", "jets", "--trial", trial).stdout
        assert shown == "epoch 1\nepoch 2 \ufffd\n"


def test_following_a_study_that_nobody_drives_ends(study):
    assert invoke("logs", "jets", "--driver", "--lines", "1", "--follow").stdout == "line 100\n"
    assert len(invoke("logs", "jets", "--lines", "2", "--follow").stdout.splitlines()) == 2


@pytest.mark.parametrize("trial", ["0099", "../../jets", ""])
def test_an_unknown_trial_is_refused_and_those_there_are_named(study, trial):
    result = invoke("logs", "jets", "--trial", trial)
    assert result.exit_code == 1
    assert "there are 0002" in result.stderr


def test_a_study_that_wrote_nothing_is_told(study):
    study.log.unlink()
    result = invoke("logs", "jets", "--driver")
    assert result.exit_code == 1
    assert "nothing was written there yet" in result.stderr


def test_resume_wants_a_name_or_all(study):
    for words in (["resume"], ["resume", "jets", "--all"]):
        result = invoke(*words)
        assert result.exit_code == 2
        assert "either the NAME of a study or --all" in result.stderr


def test_resume_of_all_leaves_what_was_not_interrupted(study):
    result = invoke("resume", "--all")
    assert result.exit_code == 0
    assert "nothing to resume" in result.stderr


def test_resume_of_all_carries_confirmations_on_too(study, monkeypatch):
    with StudyJournal(study.record) as journal:
        for event in confirmation(is_ended=False):
            journal.append(event)
    began = []

    def go_on(name, request, *_where):
        began.append((name, request))
        return 0

    monkeypatch.setattr("ucluster_tune.cli.studies.resume.carry_confirmation_on", go_on)
    result = invoke("resume", "--all")
    assert result.exit_code == 0, result.stderr
    assert began == [("jets", ConfirmationRequest())]
    assert json.loads(invoke("list", "--json").stdout)[0]["open_confirmation"] == "c1"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resume", "--all", "--trials", "3"], "--trials is of one study"),
        (["extend", "jets"], "give --trials N, --hours H, or --set budget.KEY=VALUE"),
        (["extend", "jets", "--trials", "-2"], "`ucluster-tune resume jets --trials N`"),
    ],
)
def test_a_budget_that_is_asked_for_the_wrong_way_names_the_right_one(study, words, told):
    result = invoke(*words)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
