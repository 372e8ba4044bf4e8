"""`ucluster-tune logs`, and `resume --all`."""

import pytest
from click.testing import CliRunner

from tests.study_events import four_trials
from ucluster_tune.cli.main import main
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder


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
    assert invoke("logs", "jets", "--lines", "2").stdout == "line 99\nline 100\n"
    assert invoke("logs", "jets").stdout.startswith("line 51\n")


def test_a_trial_has_a_log_of_its_own_with_whatever_bytes_are_in_it(study):
    assert invoke("logs", "jets", "--trial", "0002").stdout == "epoch 1\nepoch 2 \ufffd\n"


def test_following_a_study_that_nobody_drives_ends(study):
    assert invoke("logs", "jets", "--lines", "1", "--follow").stdout == "line 100\n"


@pytest.mark.parametrize("trial", ["0099", "../../jets", ""])
def test_an_unknown_trial_is_refused_and_those_there_are_named(study, trial):
    result = invoke("logs", "jets", "--trial", trial)
    assert result.exit_code == 1
    assert "there are 0002" in result.stderr


def test_a_study_that_wrote_nothing_is_told(study):
    study.log.unlink()
    result = invoke("logs", "jets")
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
