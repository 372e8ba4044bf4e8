import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

import ucluster_tune
from ucluster_tune.cli.main import COMMANDS, main
from ucluster_tune.errors import ConfigurationError, DataError

HEAVY = (
    "tensorflow",
    "ray",
    "horovod",
    "mlflow",
    "optuna",
    "matplotlib",
    "sklearn",
    "pandas",
    "pyarrow",
)
PACKAGE = Path(ucluster_tune.__file__).parent
CLI_MODULES = sorted(
    ".".join(("ucluster_tune", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in (PACKAGE / "cli").rglob("*.py")
    if file.stem != "__init__"
)


GROUPS = ("data", "weights")  # their commands have tests of their own documents


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def fail(monkeypatch):
    """Runs the group with a command `check` that raises what it is given."""

    def raising(error):
        @click.command()
        def command():
            raise error

        module = ModuleType("ucluster_tune_failing")
        vars(module)["command"] = command
        monkeypatch.setitem(sys.modules, "ucluster_tune_failing", module)
        monkeypatch.setitem(COMMANDS, "check", ("ucluster_tune_failing:command", "Fails."))
        return run("check")

    return raising


def modules_after(code):
    """The heavy libraries that a fresh interpreter has imported after some code."""
    report = f"\nimport sys\nprint('HEAVY', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()[1:]


def test_help_imports_no_heavy_library():
    code = (
        "import sys\nfrom ucluster_tune.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert modules_after(code) == []


@pytest.mark.parametrize("module", CLI_MODULES)
def test_modules_of_the_command_line_import_no_heavy_library(module):
    assert modules_after(f"import {module}") == []


def test_help_lists_the_commands_in_order_of_use_with_an_example():
    result = run("--help")
    assert result.exit_code == 0
    listed = result.stdout[result.stdout.index("Commands:") :].splitlines()[1 : 1 + len(COMMANDS)]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert "ucluster-tune run search_spaces/quickstart.yaml" in result.stdout
    assert result.stdout == run("-h").stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_opens_its_help_with_the_line_of_the_list(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    first_line = COMMANDS[name][1]
    assert first_line.rstrip(".") in " ".join(result.stdout.split())


def commands():
    """All commands, those of groups too, by the words that call them."""
    found = {}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found[name] = command
        inner = command.commands if isinstance(command, click.Group) else {}
        found |= {f"{name} {word}": inner_command for word, inner_command in inner.items()}
    return found


@pytest.mark.parametrize("words", commands())
def test_each_command_ends_its_help_with_examples_that_are_whole_commands(words):
    text = run(*words.split(), "--help").stdout
    _, heading, examples = text.partition("\n  Example:\n")
    assert heading, text
    for line in examples.splitlines():
        assert line.startswith(f"    ucluster-tune {words}"), line


@pytest.mark.parametrize("words", commands())
def test_each_command_says_in_one_line_what_it_does(words):
    line, *further = commands()[words].help.splitlines()
    assert line.endswith(".")
    assert not any(further[:1])
    in_a_list = commands()[words].get_short_help_str(limit=66)
    assert " " not in words or not in_a_list.endswith("...")


@pytest.mark.parametrize("option", ["set", "studies-dir", "cluster", "local", "address"])
def test_an_option_of_several_commands_is_the_same_in_all(option):
    records = [
        parameter.to_info_dict()
        for command in commands().values()
        for parameter in command.params
        if f"--{option}" in parameter.opts
    ]
    assert len(records) > 2
    assert all(record == records[0] for record in records)


def test_a_missing_module_does_not_break_the_help(monkeypatch):
    monkeypatch.setitem(COMMANDS, "check", ("ucluster_tune.cli.nothing:nothing", "Nothing."))
    result = run("--help")
    assert result.exit_code == 0
    assert "Nothing." in result.stdout


def test_the_version_is_the_packages():
    assert run("--version").stdout == f"ucluster-tune {ucluster_tune.__version__}\n"


def test_the_installed_command_runs():
    command = Path(sys.executable).parent / "ucluster-tune"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ucluster-tune ")


def test_a_misspelt_command_names_the_nearest():
    result = run("chek")
    assert result.exit_code == 2
    assert "No such command 'chek'; did you mean check?" in result.stderr


def test_an_unknown_command_is_refused():
    result = run("xyzzy")
    assert result.exit_code == 2
    assert "No such command 'xyzzy'" in result.stderr


def test_a_known_error_is_printed_alone_and_ends_with_1(fail):
    result = fail(DataError("/jets: no such folder; check data.path"))
    assert result.exit_code == 1
    assert result.stderr == "Error: /jets: no such folder; check data.path\n"
    assert result.stdout == ""


def test_all_faults_of_a_configuration_are_printed(fail):
    result = fail(ConfigurationError("jets.yaml", ["a: wrong", "b: wrong"]))
    assert result.stderr == "Error: jets.yaml: 2 faults\n  a: wrong\n  b: wrong\n"


def test_an_unknown_error_keeps_its_traceback(fail):
    result = fail(ZeroDivisionError("ours"))
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130(fail, interruption):
    result = fail(interruption)
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted."


@pytest.mark.parametrize("document", ["README.md", "docs/reliability.md", "docs/answers.md"])
def test_documents_name_commands_and_options_that_exist(document):
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    typed = re.findall(r"ucluster-tune ([a-z]+)([^\n`#]*)", text)
    assert len(typed) >= 3
    for name, rest in typed:
        assert name in COMMANDS, name
        help_text = run(name, "--help").stdout
        for option in re.findall(r"--[a-z-]+", rest if name not in GROUPS else ""):
            assert option in help_text, f"{name} {option}"
