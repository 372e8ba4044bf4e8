"""`ucluster-tune predict`: the cluster of every jet."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.data.jet_options import FileToWrite
from ucluster_tune.cli.models.arguments import (
    DEFAULT_BATCH,
    SPLITS,
    data_argument,
    load_model,
    model_argument,
    opened_source,
    predictions,
    workers_option,
)
from ucluster_tune.report.cells import program

ENDINGS = (".parquet", ".csv")  # not imported, as those of `cli.models.arguments`

if TYPE_CHECKING:
    from ucluster_tune.data.reading.jet_source import WholeSource
    from ucluster_tune.models.saved import SavedModel


@click.command(
    epilog="""\b
    Example:
      ucluster-tune predict published data/wzt --out clusters.parquet
      ucluster-tune predict quickstart data/wzt --out clusters.parquet --split test
      ucluster-tune predict quickstart s3://B/j --out c.parquet --workers-at HEAD:6379 --workers 9
    """
)
@model_argument
@data_argument
@click.option(
    "--out",
    type=FileToWrite(ENDINGS, "write it here, and copy it with the bucket's own tool"),
    required=True,
    metavar="FILE",
    help="File to write, .parquet or .csv; it must not exist yet.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Jets of one split.  [default: all, in the order train, validation, test]",
)
@workers_option
@click.option(
    "--workers-at",
    "address",
    metavar="HOST:PORT",
    help="Put the workers on the Ray that runs there; its nodes must see DATA by the same name.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 65536),
    default=DEFAULT_BATCH,
    show_default=True,
    metavar="N",
    help="Jets at a time; the result does not depend on it.",
)
def predict(
    model_dir: str,
    data: str,
    out: Path,
    split: str | None,
    workers: int,
    address: str | None,
    batch_size: int,
) -> None:
    """Write the cluster of every jet, in the order of DATA.

    MODEL_DIR is a model folder, a study (of which the best trial is taken) or a trial, by name
    or folder, or a checkpoint file. DATA is a parquet data set (a folder, or a URI such as s3://BUCKET/FOLDER),
    or HLS4ML HDF5: a file, a folder of files or their tar; with labels or without. FILE gets one
    row for each jet, none is left out: jet (its number, from 0), split, file and row (where it
    stands), jet_class and mass_gev where they are known, cluster, embedding_0 and so on, and
    distance_0 and so on, the squared distance to each centroid.
    """
    from ucluster_tune.data.making.predictions import refuse_existing

    refuse_existing(out)
    with opened_source(data, split) as source:
        counts = _write(load_model(model_dir), source, out, workers, batch_size, address)
    sizes = ", ".join(f"{cluster}: {n_jets:,}" for cluster, n_jets in enumerate(counts))
    click.echo(f"{out}: {sum(counts):,} jets of {source.description}")
    click.echo(f"Jets by cluster: {sizes}")
    options = [] if split is None else ["--split", split]
    command = [program(), "evaluate", model_dir, data, *options]
    click.echo(f"Next, where the jets have labels: {shlex.join(command)}")


def _write(
    model: "SavedModel",
    source: "WholeSource",
    out: Path,
    n_workers: int,
    batch_size: int,
    address: str | None,
) -> list[int]:
    """Write the prediction; return the jets of each cluster."""
    import numpy as np

    from ucluster_tune import __version__
    from ucluster_tune.data.making.predictions import PredictionWriter, prediction_schema
    from ucluster_tune.report.progress import JetProgress

    n_clusters, n_jets = model.config.n_clusters, sum(source.block_sizes)
    about = {
        "version": __version__,
        "model": model.origin,
        "data": source.description,
        "n_jets": n_jets,
    }
    counts = np.zeros(n_clusters, np.int64)
    with (
        PredictionWriter(
            out,
            prediction_schema(n_clusters, model.config.embedding_dim, about),
            source.origins,
        ) as writer,
        JetProgress("predicting", n_jets) as progress,
        predictions(model, source, n_workers, batch_size, address) as found,
    ):
        for part in found:
            writer.write(
                part.cluster, part.embedding, part.distances, part.mass_gev, part.jet_class
            )
            counts += np.bincount(part.cluster, minlength=n_clusters)
            progress.advance(len(part.cluster))
    return [int(count) for count in counts]
