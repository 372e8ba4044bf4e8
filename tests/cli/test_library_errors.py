"""What libraries and the system raise at the start of any command."""

import errno
import os
import subprocess
import sys

import pytest

from tests import small_study
from tests.small_study import command, environment
from ucluster_tune.cli.library_errors import in_words
from ucluster_tune.cluster.embedded import prepare_environment, ray_folder
from ucluster_tune.errors import MachineError, StudyError
from ucluster_tune.tracking.mlflow.store import resolve_tracking_uri

LONG = "x" * 300


def call(*arguments, cwd=None, **variables):
    return subprocess.run(
        command(*arguments),
        env=environment() | variables,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--studies-dir", f"/tmp/{LONG}"], "File name too long; choose a shorter name"),
        (["check", f"{LONG}.yaml"], "File name too long"),
        (["data", "describe", f"/tmp/{LONG}"], "File name too long"),
        (["list", "--studies-dir", "~nosuchuser/x"], "no such home folder"),
        (["data", "describe", "~nosuchuser/x"], "no such home folder"),
        (["logs", "jets", "--studies-dir", f"/tmp/{LONG}"], "File name too long"),
    ],
)
def test_a_path_that_no_system_has_is_told(tmp_path, arguments, words):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_limits_of_the_system_are_told_with_their_names():
    assert "ulimit -n" in str(in_words(OSError(errno.EMFILE, "Too many open files")))
    assert "ulimit -u" in str(in_words(RuntimeError("can't start new thread")))
    assert "ulimit -u" in str(in_words(BlockingIOError(errno.EAGAIN, "Resource unavailable")))
    no_folder = FileNotFoundError(2, "No usable temporary directory found in []")
    assert "TMPDIR" in str(in_words(no_folder))
    assert in_words(FileNotFoundError(2, "No such file", "of ours")) is None


def test_a_fault_of_the_program_keeps_its_traceback_and_says_that_it_is_one():
    code = (
        "import sys, click\n"
        "from ucluster_tune.cli.main import COMMANDS, main\n"
        "def fail(): raise KeyError('ours') from OSError(2, 'foreseen', 'file')\n"
        "sys.modules['failing'] = type(sys)('failing')\n"
        "sys.modules['failing'].fail = click.Command('fail', callback=fail)\n"
        "COMMANDS['check'] = ('failing:fail', 'Fail.')\n"
        "main(['check'], prog_name='ucluster-tune')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("This is a fault of ucluster-tune, not of")


@pytest.mark.parametrize("name", ["tensorflow.py", "ray/__init__.py"])
def test_a_file_that_shadows_a_library_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(MachineError, match=f"{tmp_path / name} would be loaded in place of"):
        prepare_environment()


def test_rays_files_go_where_a_socket_has_a_short_name(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / LONG[:60]))
    assert str(ray_folder()) == "/tmp/ray"
    monkeypatch.setattr(os, "access", lambda path, _mode: path == "/dev/shm")
    assert str(ray_folder()) == "/dev/shm/ray"
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(MachineError, match="set RAY_TMPDIR to one that can"):
        ray_folder()


def test_a_wrong_store_is_blamed_on_who_named_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    with pytest.raises(StudyError, match=r"MLFLOW_TRACKING_URI in the environment: .*databricks"):
        resolve_tracking_uri(None, tmp_path)
    with pytest.raises(StudyError, match=r"tracking.uri: .*'folder'"):
        resolve_tracking_uri("folder", tmp_path)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_search_ends_well_where_little_can_be_written_and_nobody_listens(
    tmp_path, jets_parquet, with_store
):
    file = small_study.write_study(
        tmp_path / "small.yaml",
        jets_parquet,
        budget={"n_trials": 1},
        training={"n_epochs": 2, "n_pretraining_epochs": 1},
        resources={"workers_per_trial": 1},
        search_space={
            "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
        },
    )
    temporary = tmp_path / LONG[:60]
    temporary.mkdir()
    words = command("run", file, "--studies-dir", with_store(tmp_path / "studies"))
    done = subprocess.run(
        ["bash", "-c", '"$@" 2>/dev/full', "bash", *words],
        env=environment()
        | {
            "HOME": "/proc",
            "TMPDIR": str(temporary),
            "TUNE_RESULT_DIR": "/proc/results",
            "PYTHONIOENCODING": "latin-1",
            "CUDA_VISIBLE_DEVICES": "0",
        },
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
        timeout=200,
    )
    log = (tmp_path / "studies" / "small" / "log.txt").read_text()
    assert done.returncode == 0, log[-3000:]
    assert "Traceback" not in log
    assert "complete" in done.stdout
