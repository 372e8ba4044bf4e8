"""Jets a second of training and inference: fused and stock operations, and the plain formulation.

    .venv/bin/python -m benchmarks.training_speed --batch-size 128 --repeats 7

All make the same update from the same jets, in turn, so that a machine whose speed drifts gives
steady ratios. The plain one is tests/model/published_graph.py: padded, in stock TensorFlow.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tests.model.published_graph import PlainNetwork, focal, kmeans, nearest_in_angle
from ucluster_tune.config.trial import DataConfig, TrialConfig
from ucluster_tune.data.format.features import MAX_CONSTITUENTS, N_FEATURES
from ucluster_tune.data.format.packed import PackedBatch, PackedJets
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.model.abcnet import CENTROIDS, build_abcnet
from ucluster_tune.model.inference import inference_of
from ucluster_tune.model.losses import mass_bins
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.model.operations.fused import FusedOperations
from ucluster_tune.model.operations.interface import Operations
from ucluster_tune.model.operations.stock import StockOperations
from ucluster_tune.training.device import use_devices
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.steps import NetworkState, StepScalars, TrainingStep

SAMPLE = Path(__file__).parents[1] / "search_spaces" / "data" / "wzt_sample"


@click.command()
@click.option("--batch-size", default=128, show_default=True, help="Jets of a step.")
@click.option("--repeats", default=7, show_default=True, help="Timed steps of each formulation.")
@click.option("--threads", default=1, show_default=True, help="Threads of TensorFlow.")
def main(batch_size: int, repeats: int, threads: int) -> None:
    """Print jets a second of each formulation, and ratios of processor time."""
    use_devices(threads)
    config, jets = sample()
    batch, mass_bin = batch_of(jets, config, batch_size)
    implementations: tuple[Operations, ...] = (StockOperations(), FusedOperations.load())
    calls = {o.name: network_calls(config, batch, mass_bin, o) for o in implementations}
    steps = {name: step for name, (step, _) in calls.items()}
    steps["plain"] = plain_step(config, tf.constant(padded(jets, batch_size)), mass_bin)
    print_table("training", steps, batch_size, repeats)
    print_table(
        "inference", {name: infer for name, (_, infer) in calls.items()}, batch_size, repeats
    )


def print_table(
    title: str, calls: dict[str, Callable[[], object]], batch_size: int, repeats: int
) -> None:
    """Time the calls in turn, and print medians."""
    for call in calls.values():
        call()  # traced before it is timed
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(repeats)]
    table = Table("operations", "jets/s", "of stock", "lowest", "highest", title=title)
    for name in calls:
        wall_s = statistics.median(of_turn[name][0] for of_turn in times)
        ratios = sorted(of_turn["stock"][1] / of_turn[name][1] for of_turn in times)
        middle, lowest, highest = statistics.median(ratios), ratios[0], ratios[-1]
        table.add_row(
            name,
            f"{batch_size / wall_s:.0f}",
            *(f"{ratio:.2f}" for ratio in (middle, lowest, highest)),
        )
    Console().print(table)


def sample() -> tuple[TrialConfig, PackedJets]:
    """Return the published configuration and jets of the sample, with their first neighbours."""
    config = TrialConfig(data=DataConfig(path=str(SAMPLE)))
    jets = open_dataset(config.data).read_share("validation")
    return config, FirstNeighborSearch(config.model)(jets)


def batch_of(
    jets: PackedJets, config: TrialConfig, batch_size: int
) -> tuple[PackedBatch, tf.Tensor]:
    """Return the first jets as tensors, and their mass bins."""
    batch = jets.batch(np.arange(batch_size), config.model.n_neighbors)
    mass_bin = mass_bins(jets.mass_gev[:batch_size], config.model)
    return PackedBatch(*map(tf.constant, batch)), tf.constant(mass_bin)


def network_calls(
    config: TrialConfig,
    batch: PackedBatch,
    mass_bin: tf.Tensor,
    operations: Operations | None = None,
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return one step of training and one of inference, each waiting for its result."""
    network = build_abcnet(config.model, operations)
    state = NetworkState(network.initial_parameters(1), network.initial_averages())
    step = TrainingStep(network, state, config, OneWorker())
    scalars = StepScalars(*map(tf.constant, (10.0, 4.0, 1e-4, 0.5)))
    infer = inference_of(network, state.parameters, state.averages)
    return (
        lambda: step.run(batch, mass_bin, scalars).focal_loss.numpy(),  # noqa: PLW0108  # a step each
        lambda: infer(batch)[0].numpy(),  # noqa: PLW0108  # the same
    )


def plain_step(config: TrialConfig, jets: tf.Tensor, mass_bin: tf.Tensor) -> Callable[[], object]:
    network = build_abcnet(config.model)
    vector = tf.Variable(network.initial_parameters(1))
    optimizer = tf.keras.optimizers.Adam(1e-4)
    optimizer.build([vector])

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            weights = network.parameters.unpack(vector)
            embedding, logits = PlainNetwork(weights)(jets, nearest_in_angle(jets))
            loss = focal(logits, mass_bin)
            total = loss + 10 * kmeans(embedding, weights[CENTROIDS], 4.0)
        optimizer.apply_gradients([(tape.gradient(total, vector), vector)])
        return loss

    return lambda: step().numpy()


def padded(jets: PackedJets, n_jets: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return float32 [jet, constituent, feature]."""
    constituents = np.zeros((n_jets, MAX_CONSTITUENTS, N_FEATURES), np.float32)
    for jet, (start, n_rows) in enumerate(zip(jets.first_rows, jets.n_rows, strict=True)):
        if jet == n_jets:
            break
        constituents[jet, :n_rows] = jets.features[start : start + n_rows]
    return constituents


def seconds(step: Callable[[], object]) -> tuple[float, float]:
    """Return what a call takes, and what of it is this process's on processors."""
    started = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    main()
