"""Ctrl-C while a command waits for something: one line and exit code 130.

That of `run` and `train` ends them in order and is tested with them, as are `data convert` and
`predict`.
"""

import os
import signal

import psutil
import pytest
from click.testing import CliRunner

from tests.study_events import four_trials
from ucluster_tune.cli.main import main
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder

WAITS_IN = {
    ("logs", "jets", "--follow"): "time.sleep",
    ("ui", "jets", "--no-browser"): "urllib.request.urlopen",  # until MLflow answers
    ("cluster", "check", "--local"): "ray.init",
}


@pytest.fixture
def running_study(tmp_path, monkeypatch):
    """A study that this process drives, in the studies folder of the environment."""
    monkeypatch.setenv("UCLUSTER_TUNE_STUDIES", str(tmp_path))
    folder = StudiesFolder(tmp_path)
    folder.mlflow_db.touch()
    paths = folder.study("jets")
    paths.root.mkdir()
    with DriverLock(paths), StudyJournal(paths.record) as journal:
        for event in four_trials():
            journal.append(event)
        paths.log.write_text("line 1\n")
        yield paths


@pytest.mark.parametrize(
    "words",
    [
        *(words for words in WAITS_IN if words[0] != "cluster"),
        pytest.param(("cluster", "check", "--local"), marks=pytest.mark.slow),  # it starts Ray
    ],
    ids=" ".join,
)
def test_ctrl_c_while_a_command_waits_ends_it_with_one_line(words, running_study, monkeypatch):
    before = psutil.Process().children(recursive=True)
    monkeypatch.setattr(WAITS_IN[words], lambda *_, **__: signal.raise_signal(signal.SIGINT))
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 130, result.output
    assert result.stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in result.output
    assert psutil.Process().children(recursive=True) == before
    assert "UCLUSTER_TUNE_RAY" not in os.environ
