"""What a trial's start costs in processes that trained before, against fresh ones, in turn.

    .venv/bin/python -m benchmarks.trial_start --rounds 5
    .venv/bin/python -m benchmarks.trial_start --rounds 0 --trials 50

Trials of the quickstart, with its network and jets, in a pair of Horovod workers. A round is one
trial in fresh workers and one in those that it leaves; the start is what the first epoch takes
longer than the second one. A fresh trial of a search has another process started for it, Tune's
own, which is left out here.

With `--trials` so many follow in one pair of workers, each of another k, and their memory is told.
"""

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# Read by Ray when it is imported: see `cluster.embedded.prepare_environment`.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import click
from rich.console import Console
from rich.table import Table

from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.trial.trainable import NOTE, UClusterTrainable
from ucluster_tune.trial.training_task import TrainingTask

QUICKSTART = Path(__file__).parents[1] / "search_spaces" / "quickstart.yaml"


class TrialProcess(UClusterTrainable):
    """Tune's process of trials, without Tune.

    Args:
        folder: of what the trials leave.
        n_workers: Horovod workers of a trial.
    """

    def __init__(self, folder: Path, n_workers: int) -> None:
        self._folder, self._n_trials = folder, 0
        resources = [f"resources.workers_per_trial={n_workers}", "resources.cpus_per_worker=1"]
        self._study = load_study_config(
            QUICKSTART,
            [
                "training.n_epochs=2",
                "training.n_pretraining_epochs=1",
                "scheduler.name=none",
                *resources,
            ],
        )
        self.setup(self._next(10))

    def _next(self, n_neighbors: int) -> dict[str, Any]:
        self._n_trials += 1
        config = trial_config_of(self._study)
        model = config.model.model_copy(update={"n_neighbors": n_neighbors})
        task = TrainingTask(config, str(self._folder / str(self._n_trials)), self._study.objective)
        task = replace(task, config=config.model_copy(update={"model": model}))
        return {"task": task, "resources": self._study.resources, "max_retries": 0}

    def run_trial(self, n_neighbors: int = 10) -> list[float]:
        """Run another trial in the workers that there are, or in fresh ones; return its seconds.

        Args:
            n_neighbors: k.
        """
        self.reset_config(self._next(n_neighbors))
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            failure = self.step()[NOTE].failure
            assert failure is None, failure
            seconds.append(time.perf_counter() - began)
        return seconds

    def memory_mib(self) -> float:
        """Have the training end; return by how much a worker has grown since its first one did."""
        assert self._workers is not None
        self._workers.end()
        return self._workers.grown_mib


@click.command()
@click.option("--rounds", "n_rounds", default=5, show_default=True, help="Pairs of trials.")
@click.option("--trials", "n_trials", default=0, show_default=True, help="In one pair of workers.")
@click.option("--workers", "n_workers", default=2, show_default=True, help="Of a trial.")
def main(n_rounds: int, n_trials: int, n_workers: int) -> None:
    """Print the seconds of starts, or the memory of workers after many trials."""
    prepare_environment()
    with tempfile.TemporaryDirectory() as name, embedded_ray(n_workers):
        process = TrialProcess(Path(name), n_workers)
        rounds = []
        for _ in range(n_rounds):
            process.cleanup()
            rounds.append((process.run_trial(), process.run_trial()))
            print("fresh {}, used {}".format(*rounds[-1]), flush=True)
        process.cleanup()
        if rounds:
            show(rounds)
        grown = []
        for number in range(n_trials):
            process.run_trial(5 + 5 * (number % 3))
            grown.append(process.memory_mib())
            print(f"trial {number + 1}: {grown[-1]:+.0f} MiB", flush=True)
        process.cleanup()


def show(rounds: list[tuple[list[float], list[float]]]) -> None:
    """Print the first and the second epoch of trials in fresh and in used workers."""
    table = Table("workers", "first epoch, s", "second epoch, s", "start, s", "lowest", "highest")
    starts = {}
    for index, kind in enumerate(("fresh", "used")):
        trials = [one[index] for one in rounds]
        starts[kind] = [first - second for first, second in trials]
        table.add_row(
            kind,
            *(f"{statistics.median(t[epoch] for t in trials):.2f}" for epoch in (0, 1)),
            f"{statistics.median(starts[kind]):.2f}",
            f"{min(starts[kind]):.2f}",
            f"{max(starts[kind]):.2f}",
        )
    ratios = [fresh / used for fresh, used in zip(*starts.values(), strict=True)]
    console = Console()
    console.print(table)
    console.print(
        f"A start in fresh workers takes {statistics.median(ratios):.1f} times as long"
        f" ({min(ratios):.1f} to {max(ratios):.1f}), median of {len(rounds)} rounds"
    )


if __name__ == "__main__":
    main()
