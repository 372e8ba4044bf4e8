"""Two environments in turn: step, inference, imports and size with the versions of each.

    .venv/bin/python -m benchmarks.stacks --before ../other_checkout/.venv/bin/python --rounds 5

The code is this checkout's for both; only the installed packages differ. Each figure of a round
comes from a process of its own, one environment after the other, who goes first changing with
each round. Times are processor time, so that a machine that others use too gives a steady ratio.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
from rich.console import Console
from rich.table import Table

BATCH_SIZES = (128, 512)
MODULES = ("tensorflow", "horovod.tensorflow", "ucluster_tune.training.trainer")
ROOT = Path(__file__).parents[1]


@click.command()
@click.option("--before", type=click.Path(exists=True), help="Python of the other environment.")
@click.option("--rounds", default=5, show_default=True, help="Processes of each environment.")
@click.option("--steps", default=11, show_default=True, help="Timed steps of a process.")
@click.option("--measure", is_flag=True, hidden=True, help="Print this environment's times.")
def main(before: str | None, rounds: int, steps: int, measure: bool) -> None:
    """Print the medians of both environments, and their ratio."""
    if measure:
        print(json.dumps(step_times_s(steps)))
        return
    if before is None:
        raise click.UsageError("--before names the other environment's Python")
    pythons = {"before": str(Path(before).absolute()), "after": sys.executable}
    times: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    for number in range(rounds):
        for name in sorted(pythons, reverse=number % 2 == 0):
            times[name].append(figures(pythons[name], steps))
    show(times, {name: environment_gib(python) for name, python in pythons.items()})


def figures(python: str, steps: int) -> dict[str, float]:
    """Return all times of one environment, in seconds of a processor."""
    command = [python, "-m", "benchmarks.stacks", "--measure", "--steps", str(steps)]
    found: dict[str, float] = json.loads(_output(command))
    for module in MODULES:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _output([python, "-c", f"import {module}"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found[f"import {module}"] = (
            after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        )
    return found


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def step_times_s(steps: int) -> dict[str, float]:
    """Return the medians of training and inference, one thread, in this process."""
    # Loaded where they are timed: the comparing process needs none.
    from benchmarks.training_speed import batch_of, network_calls, sample
    from ucluster_tune.training.device import use_devices

    use_devices(1)
    config, jets = sample()
    found = {}
    for batch_size in BATCH_SIZES:
        calls = network_calls(config, *batch_of(jets, config, batch_size))
        for name, call in zip(("step", "inference"), calls, strict=True):
            call()  # traced before it is timed
            found[f"{name}, {batch_size} jets"] = _median_s(call, steps)
    return found


def _median_s(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return statistics.median(times)


def environment_gib(python: str) -> float:
    """Return the size of an environment's files; what the cache shares with it counts too."""
    folder = Path(python).parents[1]
    return sum(file.lstat().st_size for file in folder.rglob("*")) / 2**30


def show(times: dict[str, list[dict[str, float]]], gib: dict[str, float]) -> None:
    """Print one row for each figure; ratios are taken round by round."""
    table = Table("", "before", "after", "after / before, median", "lowest", "highest")
    for name in times["before"][0]:
        before, after = ([found[name] for found in times[key]] for key in ("before", "after"))
        ratios = sorted(new / old for old, new in zip(before, after, strict=True))
        table.add_row(
            f"{name}, s",
            f"{statistics.median(before):.4f}",
            f"{statistics.median(after):.4f}",
            *(f"{ratio:.2f}" for ratio in (statistics.median(ratios), ratios[0], ratios[-1])),
        )
    ratio = gib["after"] / gib["before"]
    table.add_row(
        "environment, GiB", f"{gib['before']:.2f}", f"{gib['after']:.2f}", f"{ratio:.2f}"
    )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
