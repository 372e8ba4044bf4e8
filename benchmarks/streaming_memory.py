"""Peak memory and speed of a training as its data set grows, streamed and all in memory.

    .venv/bin/python -m benchmarks.streaming_memory --jets 10000 --buffer-jets 5000

Trains both phases, evaluation included, on the jets of the sample repeated to 1, 3 and 10 times
the size, each in a process of its own, whose peak is what the kernel counted from its start. All
make about as many steps, fewer epochs on more jets: memory grows in the first thousand steps
whatever is read, as batches of ever other sizes leave holes in it. With narrow layers, so that
minutes are enough; `--published` takes the network as it is, for its speed.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from ucluster_tune.config.trial import DataConfig, ModelConfig, TrainingConfig, TrialConfig
from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.data.making.writer import DatasetWriter
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.training.device import use_devices
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.trainer import Trainer

SAMPLE = Path(__file__).parents[1] / "search_spaces" / "data" / "wzt_sample"
NARROW = ModelConfig(width_factor=1 / 16)
IN_MEMORY = 10**9


@click.command()
@click.option("--jets", default=10_000, show_default=True, help="Training jets, 1x.")
@click.option("--buffer-jets", default=5_000, show_default=True, help="data.shuffle_buffer_jets.")
@click.option("--times", default="1,3,10", show_default=True, help="Sizes of the data set.")
@click.option("--jets-seen", default=300_000, show_default=True, help="In all epochs together.")
@click.option("--threads", default=1, show_default=True, help="Threads of TensorFlow.")
@click.option("--published", is_flag=True, help="The published network.")
@click.option("--folder", type=click.Path(path_type=Path), help="For files.  [default: TMPDIR]")
def main(
    jets: int,
    buffer_jets: int,
    times: str,
    jets_seen: int,
    threads: int,
    published: bool,
    folder: Path | None,
) -> None:
    """Print a row for each data set and each way to read it."""
    table = Table("jets of training", "epochs", "read", "peak memory, MiB", "jets/s, median")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for scale in map(int, times.split(",")):
            data = Path(name) / f"{scale}x"
            called("write", {"data": str(data), "n_jets": scale * jets})
            for kind, buffer in (("streamed", buffer_jets), ("in memory", IN_MEMORY)):
                found = called(
                    "train",
                    {
                        "data": str(data),
                        "buffer_jets": buffer,
                        "n_epochs": max(2, round(jets_seen / (scale * jets))),
                        "threads": threads,
                        "published": published,
                    },
                )
                table.add_row(
                    f"{found['n_jets']:,}",
                    f"{found['n_epochs']}",
                    kind,
                    f"{found['peak_mib']:.0f}",
                    f"{found['jets_per_second']:.0f}",
                )
    Console().print(table)


def called(what: str, arguments: dict[str, object]) -> dict[str, float]:
    """Return what a function of this file gives in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streaming_memory", what, json.dumps(arguments)]
    process = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if process.returncode:
        raise click.ClickException(f"{what} failed with {arguments}")
    found: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return found


def write(data: str, n_jets: int) -> dict[str, float]:
    """Write the sample again and again: as many training jets, a quarter of it for validation."""
    with DatasetWriter(Path(data)) as writer:
        for split, wanted in zip(SPLITS, (n_jets, n_jets // 4, 3000), strict=True):
            sample = pq.read_table(SAMPLE / f"{split}-00000.parquet")
            for start in range(0, wanted, sample.num_rows):
                writer.write(split, sample.slice(0, wanted - start))
        writer.finish(name="repeated", source="the sample", command="benchmark", settings={})
    return {}


def train(
    data: str, buffer_jets: int, n_epochs: int, threads: int, published: bool
) -> dict[str, float]:
    """Train the epochs of both phases."""
    use_devices(threads)
    config = TrialConfig(
        data=DataConfig(path=data, shuffle_buffer_jets=buffer_jets),
        model=ModelConfig() if published else NARROW,
        training=TrainingConfig(
            n_epochs=n_epochs, n_pretraining_epochs=n_epochs // 2, kmeans_n_init=1
        ),
    )
    dataset = open_dataset(config.data)
    trainer = Trainer(config, dataset, OneWorker())
    records = [trainer.run_epoch() for _ in range(n_epochs)]
    status = Path("/proc/self/status").read_text()
    (peak_kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return {
        "n_jets": dataset.n_jets("train"),
        "n_epochs": n_epochs,
        "peak_mib": int(peak_kib) / 1024,
        "jets_per_second": statistics.median(r.jets_per_second for r in records[1:]),
    }


if __name__ == "__main__":
    if sys.argv[1:2] in (["write"], ["train"]):
        print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
    else:
        main()
