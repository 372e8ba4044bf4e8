"""How long `ucluster-tune resume` takes to begin a new trial, where many have ended.

    .venv/bin/python -m benchmarks.resuming --trials 1000 --epochs 30

The study is made by the search's own parts from trials that train nothing: record, Optuna's file
and MLflow's runs are the real ones. Then the command is typed, and its time is taken from the
start of the process until the record says that a new trial has begun.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.table import Table

from benchmarks.trivial_trials import run_study, trivial_study
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.extension import Extension, extend
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.paths import StudiesFolder, StudyPaths

JETS = Path(__file__).parents[1] / "search_spaces" / "data" / "wzt_sample"
LIMIT_S = 300.0


def make_study(folder: StudiesFolder, n_trials: int, n_epochs: int) -> StudyPaths:
    """Return a study whose trials have ended, and which was given one more."""
    paths = folder.study("trivial")
    config = trivial_study(n_trials, n_epochs, str(JETS))
    checksum = open_checked_dataset(DataConfig(path=str(JETS)), 1).manifest.dataset_checksum
    run_study(config, paths, folder, checksum)
    record = read_record(paths.record)
    extended = extend(config, record, Extension(n_trials=1))
    with StudyJournal(paths.record) as journal:
        journal.append(StudyEnded(state="complete"))
        journal.append(extended)
        journal.append(StudyEnded(state="interrupted"))
    return paths


def seconds_to_resume(paths: StudyPaths) -> dict[str, float]:
    """Return the seconds from the start of the command to each thing that it comes to."""
    with paths.record.open("rb") as record:
        record.seek(0, os.SEEK_END)
        began = time.monotonic()
        command = subprocess.Popen(
            [
                *(sys.executable, "-m", "ucluster_tune", "resume", paths.name, "--local"),
                *("--studies-dir", str(paths.root.parent)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return {
                what: _seen(record, event, command, began)
                for what, event in (
                    ("the study is resumed, its jets read, Ray started", "study_resumed"),
                    ("a new trial is suggested and begins", "trial_started"),
                    ("its process runs", "trial_placed"),
                )
            }
        finally:
            _end(command)


def _seen(
    record: IO[bytes], event: str, command: "subprocess.Popen[bytes]", began: float
) -> float:
    """Return when an event came into the record, in seconds after the start."""
    name = re.compile(rb'"event":"%s"' % event.encode())
    while time.monotonic() < began + LIMIT_S:
        if name.search(record.readline()):
            return time.monotonic() - began
        if command.poll() is not None:
            raise click.ClickException(f"the command ended with {command.returncode}")
        time.sleep(0.01)
    raise click.ClickException(f"no {event} within {LIMIT_S:g} s")


def _end(command: "subprocess.Popen[bytes]") -> None:
    for _ in range(2):  # the second one does not wait for the epoch's end
        command.send_signal(signal.SIGINT)
        time.sleep(1)
    command.wait(60)


@click.command()
@click.option("--trials", "n_trials", default=1000, show_default=True, help="Trials that ended.")
@click.option("--epochs", "n_epochs", default=30, show_default=True, help="Epochs of a trial.")
@click.option("--keep", type=click.Path(path_type=Path), help="Make, or take, the study here.")
def main(n_trials: int, n_epochs: int, keep: Path | None) -> None:
    """Print the seconds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = StudiesFolder(keep or Path(name))
        paths = folder.study("trivial")
        if not paths.record.exists():
            make_study(folder, n_trials, n_epochs)
        record = read_record(paths.record)
        seconds = seconds_to_resume(paths)
    n_all = sum(trial.epochs for trial in record.trials.values())
    table = Table(f"{record.n_finished} trials, {n_all} epochs", "seconds after the start")
    for what, second in seconds.items():
        table.add_row(what, f"{second:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
