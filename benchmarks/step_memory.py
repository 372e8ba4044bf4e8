"""Memory of a training step: fused operations, stock ones and the plain formulation.

    .venv/bin/python -m benchmarks.step_memory --batch-size 512

Each in a process of its own: how far its largest memory grows from a traced step of 8 jets to
three steps of the batch.
"""

import resource
import subprocess
import sys

import click
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from benchmarks.training_speed import batch_of, network_calls, padded, plain_step, sample
from ucluster_tune.model.operations.fused import FusedOperations
from ucluster_tune.model.operations.stock import StockOperations
from ucluster_tune.training.device import use_devices

SMALL = 8
FORMULATIONS = ("fused", "stock", "plain")


@click.command()
@click.option("--batch-size", default=512, show_default=True, help="Jets of a step.")
@click.option("--only", type=click.Choice(FORMULATIONS), hidden=True)
def main(batch_size: int, only: str | None) -> None:
    """Print MiB of each formulation, and ratios."""
    if only is not None:
        print(growth_mib(only, batch_size))
        return
    command = [sys.executable, "-m", "benchmarks.step_memory", "--batch-size", str(batch_size)]
    mib = {
        name: float(
            subprocess.run(
                [*command, "--only", name], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
        )
        for name in FORMULATIONS
    }
    table = Table("operations", "MiB", "of stock", title=f"a step of {batch_size} jets")
    for name, grown in mib.items():
        table.add_row(name, f"{grown:.0f}", f"{grown / mib['stock']:.2f}")
    Console().print(table)


def growth_mib(formulation: str, batch_size: int) -> float:
    """Return by how much three steps raise this process's largest memory."""
    use_devices(1)
    config, jets = sample()
    (batch, mass_bin), (small, small_bin) = (
        batch_of(jets, config, n_jets) for n_jets in (batch_size, SMALL)
    )
    if formulation == "plain":
        inputs = tf.constant(padded(jets, batch_size))
        plain_step(config, inputs[:SMALL], small_bin)()
        step = plain_step(config, inputs, mass_bin)
    else:
        operations = FusedOperations.load() if formulation == "fused" else StockOperations()
        network_calls(config, small, small_bin, operations)[0]()
        step, _ = network_calls(config, batch, mass_bin, operations)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


if __name__ == "__main__":
    main()
