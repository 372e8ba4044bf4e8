import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.study_events import four_trials
from ucluster_tune.cli.main import main
from ucluster_tune.study.events import StudyEnded, utc_now
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UCLUSTER_TUNE_STUDIES", raising=False)
    folder = StudiesFolder(tmp_path / "studies")
    folder.study("jets").root.mkdir(parents=True)
    with StudyJournal(folder.study("jets").record) as journal:
        for event in (*four_trials(), StudyEnded(state="interrupted")):
            journal.append(event)
    return folder.root


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_list_shows_studies_and_what_to_type_next(studies: Path) -> None:
    result = invoke("list")
    assert result.exit_code == 0
    assert "jets" in result.stdout
    assert "interrupted" in result.stdout
    assert result.stderr == "Next: ucluster-tune status jets\n"


def test_list_of_no_studies_says_how_to_begin(tmp_path: Path) -> None:
    result = invoke("list", "--studies-dir", str(tmp_path / "none"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "ucluster-tune run FILE" in result.stderr


def test_list_as_json_is_json_alone(studies: Path) -> None:
    (line,) = json.loads(invoke("list", "--json").stdout)
    assert (line["name"], line["best"]["trial_id"]) == ("jets", "0001")


def test_status_shows_trials_on_stdout_and_next_commands_on_stderr(studies: Path) -> None:
    result = invoke("status", "jets")
    assert result.exit_code == 0
    assert "Study jets" in result.stdout
    assert "✓ complete" in result.stdout
    assert "ucluster-tune ui jets" in result.stderr
    assert "ucluster-tune" not in result.stdout


@pytest.mark.parametrize("command", [("status", "jets"), ("list",)])
def test_commands_to_type_next_can_be_copied_however_long(
    studies: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = studies.rename(studies.with_name(("a folder of studies " * 8).strip()))
    told = invoke(*command, "--studies-dir", str(folder)).stderr
    commands = [line.rstrip() for line in told.splitlines() if "ucluster-tune " in line]
    assert commands
    for line in commands:
        assert f"--studies-dir '{folder.name}'" in line or line.endswith("best.yaml' --out best")


def test_status_as_json_is_json_alone(studies: Path) -> None:
    status = json.loads(invoke("status", "jets", "--json").stdout)
    assert status["name"] == "jets"
    assert status["best"]["trial_id"] == "0001"


def test_studies_are_found_where_the_option_or_the_variable_says(
    studies: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moved = studies.rename(tmp_path / "moved")
    assert invoke("status", "jets").exit_code == 1
    assert invoke("status", "jets", "--studies-dir", str(moved)).exit_code == 0
    monkeypatch.setenv("UCLUSTER_TUNE_STUDIES", str(moved))
    result = invoke("status", "jets")
    assert result.exit_code == 0
    assert "--studies-dir" not in result.stderr


@pytest.mark.parametrize("name", ["jest", "../studies", "", "x" * 300, "/etc"])
def test_unknown_and_tricky_names_get_one_error_line(studies: Path, name: str) -> None:
    result = invoke("status", name)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    if name == "jest":
        assert "did you mean jets?" in result.stderr


def test_without_a_name_it_is_the_study_of_which_something_was_recorded_last(
    studies: Path,
) -> None:
    first = StudiesFolder(studies).study("jets")
    for name, time in (("older", "2020-01-01T00:00:00.000+00:00"), ("newer", utc_now())):
        paths = StudiesFolder(studies).study(name)
        paths.root.mkdir()
        paths.log.write_text(f"of {name}\n")
        with StudyJournal(paths.record) as journal:
            for event in four_trials():
                journal.append(event.model_copy(update={"time": time}))
    assert first.root.exists()
    assert invoke("status").stdout.startswith("Study newer ")


def test_search_spaces_that_ship_are_checked_by_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Study quickstart" in invoke("check", "quickstart").stdout
    unknown = invoke("check", "quikstart")
    assert unknown.exit_code == 1
    assert "search spaces that have a name: jets, published, quickstart, study" in unknown.stderr
    Path("quickstart").write_text("data: [")
    assert invoke("check", "quickstart").exit_code == 1  # a file goes first


def test_looking_at_studies_imports_no_heavy_library(studies: Path) -> None:
    code = """
import sys
from click.testing import CliRunner
from ucluster_tune.cli.main import main
for command in (["list"], ["status", "jets"], ["status", "jets", "--json"]):
    assert CliRunner().invoke(main, command).exit_code == 0
heavy = {"ray", "optuna", "mlflow", "tensorflow", "horovod", "sklearn", "matplotlib", "pandas"}
print(sorted(heavy & set(sys.modules)))
"""
    python = [sys.executable, "-c", code]
    assert subprocess.check_output(python, cwd=studies.parent, text=True) == "[]\n"
