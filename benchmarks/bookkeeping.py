"""The driver's own work an epoch, and for a suggestion, as trials grow in number.

    .venv/bin/python -m benchmarks.bookkeeping --trials 2000 --epochs 10

Tune really runs a search of trials that train nothing, with journal, record, Optuna, ASHA and
MLflow. Times are processor time of the thread that drives: what it waits for, on a machine where
trials take all cores, is not its work. MLflow and the file for dashboards have threads of their
own. Medians: now and then Python collects its garbage in one of the calls.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from ray import tune
from rich.console import Console
from rich.table import Table

from benchmarks.trivial_trials import begin_study, trivial_epochs, trivial_study
from ucluster_tune.cluster.embedded import embedded_ray
from ucluster_tune.search import tuning
from ucluster_tune.search.listener import TuneListener
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.schedulers.asha import Asha
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.study.folder import log_to_study
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.trial.trainable import EPOCH

N_PARTS = 4


class Trivial(tune.Trainable):
    """Reports epochs that were never trained."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take in the configuration."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial."""
        n_epochs = new_config["task"].config.training.n_epochs
        self._left = trivial_epochs(new_config["trial_id"], n_epochs)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next epoch."""
        epoch = self._left.pop(0)
        return {EPOCH: epoch, "done": not self._left}


class Clock:
    """Takes the driving thread's processor time: in the calls that it is put around, and in all.

    Attributes:
        calls: milliseconds of each call, by name.
        between: milliseconds in all from one report to the next, suggestions left out.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {}
        self.between: list[float] = []
        self._not_counted_s = 0.0
        self._reported_s: float | None = None

    def around(self, owner: type, method: str, name: str) -> None:
        """Have a method of a class timed."""
        function: Callable[..., Any] = getattr(owner, method)
        taken = self.calls.setdefault(name, [])

        def timed(*arguments: Any, **options: Any) -> Any:
            began_s = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds = time.thread_time() - began_s
                taken.append(1000 * seconds)
                if name == "suggest":
                    self._not_counted_s += seconds
                if name == "result":
                    self.report()

        setattr(owner, method, timed)

    def report(self) -> None:
        """Take in that an epoch is reported."""
        now_s = time.thread_time() - self._not_counted_s
        if self._reported_s is not None:
            self.between.append(1000 * (now_s - self._reported_s))
        self._reported_s = now_s


def run(n_trials: int, n_epochs: int, folder: StudiesFolder) -> tuple[Clock, float]:
    """Return the times of a search, and the seconds after which MLflow had all of it."""
    config, paths = trivial_study(n_trials, n_epochs), folder.study("trivial")
    study = begin_study(config, paths, folder)
    clock = Clock()
    clock.around(TuneListener, "__call__", "result")
    clock.around(StudySampler, "on_event", "Optuna told")
    clock.around(Asha, "decide", "ASHA")
    clock.around(Suggestions, "suggest", "suggest")
    clock.around(StudySampler, "ask", "ask")
    with study.journal, log_to_study(paths), embedded_ray(2):
        study.mirror.start()
        tuning.run_trials(
            study.driver, study.sampler, lambda: 2, lambda _line: None, lambda: None, Trivial
        )
        ended = time.monotonic()
        study.dashboards.close()
        assert study.mirror.close(3600), study.mirror.last_failure
    return clock, time.monotonic() - ended


@click.command()
@click.option("--trials", "n_trials", default=2000, show_default=True, help="Trials of the study.")
@click.option("--epochs", "n_epochs", default=10, show_default=True, help="Epochs of a trial.")
def main(n_trials: int, n_epochs: int) -> None:
    """Print the times, and how they grow."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Optuna's thread writes
        began = time.monotonic()
        clock, behind_s = run(n_trials, n_epochs, StudiesFolder(Path(name)))
    rows = {
        "a report: all of it": clock.calls["result"],
        "of which Optuna told": clock.calls["Optuna told"],
        "of which ASHA asked": clock.calls["ASHA"],
        "all from one report to the next, Tune too": clock.between,
        "a suggestion: Optuna asked": clock.calls["ask"],
        "a suggestion in all": [ms for ms in clock.calls["suggest"] if ms > 1],
    }
    parts = [
        f"{n_trials * part // N_PARTS} to {n_trials * (part + 1) // N_PARTS}"
        for part in range(N_PARTS)
    ]
    table = Table("milliseconds of processor time, trials", *parts)
    for what, values in rows.items():
        table.add_row(
            what, *(f"{statistics.median(_part(values, n)):.2f}" for n in range(N_PARTS))
        )
    Console(width=110).print(table)
    Console().print(
        f"{len(clock.between) + 1} epochs in {time.monotonic() - began:.0f} s;"
        f" MLflow had all {behind_s:.1f} s after the last"
    )


def _part(values: list[float], part: int) -> list[float]:
    return values[len(values) * part // N_PARTS : len(values) * (part + 1) // N_PARTS]


if __name__ == "__main__":
    main()
