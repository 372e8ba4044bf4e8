"""What checkpoints and bookkeeping cost a trial: epochs with both and with neither, in turn.

    .venv/bin/python -m benchmarks.overhead --rounds 16

A trial of the quickstart, with its network, jets and batches, in this one process. A round is two
blocks of epochs. One is as in a search: checkpoint and evaluation file after each epoch, journal,
Optuna, and MLflow in its own thread, until MLflow has the last epoch. In the other one the same
network trains and is measured, and nothing is written. Who goes first changes with each round.

MLflow's thread shares this process with TensorFlow; in a search it has another one, and no trial
waits for it. So the cost shown is rather too high. What a trial costs once, its begin and its end
with pictures, is told apart; in a search the driver does that while the next trial starts.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
from rich.console import Console
from rich.table import Table

from ucluster_tune import __version__
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.study import StudyConfig, TrackingConfig
from ucluster_tune.report.pictures import draw_trial_pictures
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.listener import TuneListener
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.events import StudyStarted
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import DashboardFile
from ucluster_tune.tracking.mlflow.tracked_study import draw_best_epoch, study_mirror
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.device import use_devices
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.trainable import EPOCH
from ucluster_tune.trial.training_run import TrainingRun

QUICKSTART = Path(__file__).parents[1] / "search_spaces" / "quickstart.yaml"
_MLFLOW_TIMEOUT_S = 60.0
_TUNE_ID = "t"


class WatchedTracker(Tracker):
    """A tracker that knows what it has sent."""

    n_epochs, has_ended = 0, False

    def log_epochs(
        self,
        run_id: str,
        epochs: Sequence[tuple[EpochRecord, int]],
        reference: float,
        best: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
    ) -> None:
        """Send the metrics of epochs."""
        super().log_epochs(run_id, epochs, reference, best)
        self.n_epochs += len(epochs)

    def end_trial(
        self,
        run_id: str,
        outcome: str,
        cause: str | None = None,
        n_epochs: int = 0,
        ended_ms: int | None = None,
    ) -> None:
        """Close the run of a trial."""
        super().end_trial(run_id, outcome, cause, n_epochs, ended_ms)
        self.has_ended = True


class Books:
    """All that keeps the books of a study, as `search.session` puts it together.

    Args:
        config: of the study.
        folder: of all studies, still empty.
    """

    def __init__(self, config: StudyConfig, folder: StudiesFolder) -> None:
        paths = folder.study("overhead")
        paths.trials.mkdir(parents=True)
        write_whole(paths.study_yaml, "name: overhead\n")
        tracker = WatchedTracker.open(TrackingConfig(), folder.root)
        assert isinstance(tracker, WatchedTracker)
        started = StudyStarted(
            name=paths.name,
            config=config.model_dump(mode="json"),
            code_version=__version__,
            dataset_checksum="0",
            tracking_uri=tracker.uri,
            experiment_id=tracker.experiment_id,
            seed=1,
            reference_accuracy=0.81,
        )
        self.tracker, self._journal = tracker, StudyJournal(paths.record)
        self._journal.append(started)
        keeper = RecordKeeper(self._journal, StudyRecord(started))
        self.driver = StudyDriver(config, paths, keeper)
        before_end = draw_best_epoch(paths, draw_trial_pictures)
        self._mirror = study_mirror(config, keeper, paths, folder, before_end, tracker)
        sampler = StudySampler(config, keeper.record)
        store = DashboardFile(paths.optuna_db, paths.name)
        self._dashboards = DashboardCopy(config, keeper.record, keeper.lock, store)
        for observer in (sampler, self._dashboards, self._mirror):
            keeper.tell(observer)
        self.suggestions = Suggestions(sampler, self.driver, lambda: 1)
        scheduler = Verdicts(self.driver)
        self.listener = TuneListener(self.driver, scheduler, lambda _line: None, lambda: None)
        self._mirror.start()

    def close(self) -> None:
        """Have all threads end."""
        self._dashboards.close()
        assert self._mirror.close(_MLFLOW_TIMEOUT_S), "MLflow lacks something"
        self._journal.close()


class Trial:
    """A trial whose epochs are kept or not, as asked for.

    Args:
        books: of its study.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        began = time.perf_counter()
        config = books.suggestions.suggest(_TUNE_ID)
        self._begin_s = time.perf_counter() - began
        assert isinstance(config, dict)
        trial: Any = SimpleNamespace(trial_id=_TUNE_ID, config=config, last_result={})
        self._trial = trial
        books.listener.on_trial_start(0, [], trial)
        self._training = TrainingRun(config["task"], OneWorker())
        self._n_kept = 0

    def bare_s(self, n_epochs: int) -> float:
        """Return the seconds of epochs of which nothing is written."""
        began = time.perf_counter()
        for _ in range(n_epochs):
            self._training._trainer.run_epoch()  # all but the writing
        return time.perf_counter() - began

    def kept_s(self, n_epochs: int) -> float:
        """Return the seconds of epochs that are kept, until MLflow has them."""
        books = self._books
        began = time.perf_counter()
        for _ in range(n_epochs):
            record = self._training.run_epoch()
            books.listener(_TUNE_ID, {EPOCH: record})
        self._n_kept += n_epochs
        _wait_until(lambda: books.tracker.n_epochs == self._n_kept)
        return time.perf_counter() - began

    def once_s(self) -> float:
        """End the trial; return the seconds that its begin and its end took."""
        books = self._books
        began = time.perf_counter()
        books.listener.on_trial_complete(0, [], self._trial)
        _wait_until(lambda: books.tracker.has_ended)
        return self._begin_s + time.perf_counter() - began


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + _MLFLOW_TIMEOUT_S
    while not condition():
        assert time.perf_counter() < deadline, "MLflow lacks something"
        time.sleep(0.002)  # short: what is waited for is measured


@click.command()
@click.option("--rounds", "n_rounds", default=16, show_default=True, help="Pairs of blocks.")
@click.option("--epochs", "n_epochs", default=2, show_default=True, help="Of a block.")
@click.option("--threads", default=2, show_default=True, help="Threads of TensorFlow.")
def main(n_rounds: int, n_epochs: int, threads: int) -> None:
    """Print the seconds of epochs with and without checkpoints and books, and what these cost."""
    use_devices(threads)
    n_first = load_study_config(QUICKSTART).training.n_pretraining_epochs
    n_all = n_first + 2 * n_epochs * (n_rounds + 1)
    config = load_study_config(QUICKSTART, [f"training.n_epochs={n_all + 1}"])
    with tempfile.TemporaryDirectory() as name:
        books = Books(config, StudiesFolder(Path(name)))
        trial = Trial(books)
        trial.bare_s(n_first)  # pretraining
        rounds = []
        for number in range(n_rounds + 1):
            if number % 2:
                with_s = trial.kept_s(n_epochs)
                without_s = trial.bare_s(n_epochs)
            else:
                without_s = trial.bare_s(n_epochs)
                with_s = trial.kept_s(n_epochs)
            rounds.append((without_s / n_epochs, with_s / n_epochs))
        once_s = trial.once_s()
        books.close()
    show(rounds[1:], once_s)  # the first one traces the network and opens MLflow's store


def show(rounds: list[tuple[float, float]], once_s: float) -> None:
    """Print what an epoch took with both and with neither, and the cost with its spread."""
    costs = [100 * (with_s / without_s - 1) for without_s, with_s in rounds]
    table = Table("an epoch", "median", "middle half", "all")
    columns = (
        ("with neither, s", [without_s for without_s, _ in rounds], ".3f"),
        ("with both, s", [with_s for _, with_s in rounds], ".3f"),
        ("cost in a round, %", costs, "+.1f"),
    )
    for name, values, form in columns:
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(
            name,
            f"{middle:{form}}",
            f"{low:{form}} to {high:{form}}",
            f"{min(values):{form}} to {max(values):{form}}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"Checkpoints and bookkeeping cost {statistics.median(costs):.1f} % of an epoch, median of"
        f" {len(rounds)} rounds; the trial's begin and end took {once_s:.2f} s once"
    )


if __name__ == "__main__":
    main()
