"""Terminals that are gone, full, closed, or cannot show a character."""

import signal
import subprocess
import sys

import pytest

from tests.small_study import environment

# A command whose words go through all that ours go through: click, rich, a live table, `print`.
SPEAKS = """
import sys, click
from ucluster_tune.cli.main import COMMANDS, main
@click.command()
@click.argument("how")
def speak(how):
    from rich.console import Console
    from ucluster_tune.report.live import LiveTable
    table = LiveTable()
    for n in range(2_000 if how == "much" else 3):
        table.say(f"line {n} \\N{GREEK SMALL LETTER SIGMA}")
    click.echo("Warning: of click", err=True)
    print("of print", file=sys.stderr, flush=True)
    Console().print("result \\N{GREEK SMALL LETTER SIGMA}")
    with open(sys.argv[1], "w") as file:
        file.write("came to its end")
sys.modules["speaking"] = type(sys)("speaking")
sys.modules["speaking"].speak = speak
COMMANDS["check"] = ("speaking:speak", "Speak.")
main(["check", sys.argv[2]], prog_name="ucluster-tune")
"""


def speak(tmp_path, redirections, how="little", **variables):
    """Runs the command in a shell; returns what became of it, and whether it came to its end."""
    mark = tmp_path / "mark"
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirections}', "bash", sys.executable, "-c", SPEAKS, mark, how],
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done, mark.exists()


@pytest.mark.parametrize(
    "redirections", ["2>/dev/full", "2>&-", "2>&1 >/dev/null | head -n 1", "2> >(exit 0)"]
)
def test_nothing_ends_because_nobody_reads_standard_error(tmp_path, redirections):
    done, has_ended = speak(tmp_path, redirections, "much")
    assert (done.returncode, has_ended) == (0, True)


def test_standard_output_that_is_full_is_told_once(tmp_path):
    done, has_ended = speak(tmp_path, "1>/dev/full")
    assert (done.returncode, has_ended) == (1, False)
    error = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert error == [
        "Error: standard output: cannot be written: No space left on device;"
        " what was printed there is not all: send it elsewhere"
    ]


def test_help_to_a_full_disk_is_told_too(tmp_path):
    done, _ = speak(tmp_path, "1>/dev/full", "--help")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output: cannot be written")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_character_that_an_encoding_lacks_is_no_error(tmp_path, encoding):
    done, has_ended = speak(tmp_path, "", PYTHONIOENCODING=encoding)
    assert (done.returncode, has_ended) == (0, True)
    assert done.stdout == "result ?\n"


def test_a_closed_stream_gives_its_number_to_no_file(tmp_path):
    code = "import os; from ucluster_tune.cli.streams import use_lasting_streams as use; use();"
    look = f"file = open({str(tmp_path / 'database')!r}, 'w'); print(file.fileno(), flush=True)"
    words = [sys.executable, "-c", code + look]
    done = subprocess.run(
        ["bash", "-c", '"$@" 0<&- 2>&-', "bash", *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 2


def signalled(number, ignored):
    """Runs a command that gets a signal, with others ignored."""
    code = (
        "import os, signal, sys, click\n"
        "from ucluster_tune.cli.main import COMMANDS, main\n"
        f"for number in {ignored}: signal.signal(number, signal.SIG_IGN)\n"
        f"speak = click.Command('speak', callback=lambda: os.kill(os.getpid(), {number:d}))\n"
        "sys.modules['speaking'] = type(sys)('speaking')\n"
        "sys.modules['speaking'].speak = speak\n"
        "COMMANDS['check'] = ('speaking:speak', 'Speak.')\n"
        "main(['check'], prog_name='ucluster-tune')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignored", [[], [2]], ids=["terminal", "background of a script"])
def test_a_wish_to_end_is_taken_as_ctrl_c_is(number, ignored):
    done = signalled(number, ignored)
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")


def test_nohup_keeps_what_it_ignores():
    assert signalled(signal.SIGHUP, [1]).returncode == 0
