"""`ucluster-tune evaluate`: how well a model's clusters agree with the classes of jets."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ucluster_tune.cli.data.jet_options import ClassList, FiniteRange, picture_option
from ucluster_tune.cli.models.arguments import (
    DEFAULT_BATCH,
    SPLITS,
    data_argument,
    load_model,
    model_argument,
    opened_source,
    predictions,
    training_source,
    workers_option,
)
from ucluster_tune.errors import MachineError
from ucluster_tune.report.cells import program
from ucluster_tune.storage.whole_files import explained, refuse_unwritable

if TYPE_CHECKING:
    from ucluster_tune.data.format.packed import IntArray
    from ucluster_tune.data.reading.jet_source import JetSource
    from ucluster_tune.data.reading.selection import Selection
    from ucluster_tune.models.saved import SavedModel

WINDOWS = ("published", "model")


@click.command(
    epilog="""\b
    Example:
      ucluster-tune evaluate published data/wzt
      ucluster-tune evaluate quickstart data/wzt --plot confusion.png --json
    """
)
@model_argument
@data_argument
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Jets of a data set to measure on.  [default: test]",
)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
@picture_option
@click.option(
    "--window",
    type=click.Choice(WINDOWS),
    help="Window of masses: 10 to 200 GeV as published, or the one that the model was trained on."
    "  [default: published for HDF5, model for a data set]",
)
@click.option(
    "--mass-min",
    type=FiniteRange(0.0, 1e6),
    metavar="GEV",
    help="Jets at or below are left out, in place of the window's lower end.",
)
@click.option(
    "--mass-max",
    type=FiniteRange(0.0, 1e6),
    metavar="GEV",
    help="Jets at or above are left out, in place of the window's upper end.",
)
@click.option(
    "--classes",
    type=ClassList(),
    help="Jet classes: some of g,q,w,z,t.  [default: as the model was trained, else all]",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(100, 100_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Resamples for the 95 % intervals.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", default=1, show_default=True,
    help="Of the resamples and of k-means.",
)  # fmt: skip
@workers_option
def evaluate(
    *,
    model_dir: str,
    data: str,
    split: str | None,
    as_json: bool,
    plot: Path | None,
    window: str | None,
    mass_min: float | None,
    mass_max: float | None,
    classes: tuple[str, ...] | None,
    bootstrap: int,
    seed: int,
    workers: int,
) -> None:
    """Measure a model's clusters against the classes of jets.

    MODEL_DIR is a model folder, a study (of which the best trial is taken) or a trial, by name
    or folder, or a checkpoint file. DATA is a parquet data set (a folder, or a URI such as s3://BUCKET/FOLDER),
    or HLS4ML HDF5: a file, a folder of files or their tar.
    For comparison, the same numbers are told of k-means on the jet mass and of the two best mass
    thresholds, chosen on training jets. The picture of --plot is the confusion matrix.
    """
    from ucluster_tune.data.reading.labels import select_labels
    from ucluster_tune.report.agreement import agreement_document

    if plot is not None:
        refuse_unwritable(plot, MachineError)
    with opened_source(data, split, default_split="test") as source:
        model = load_model(model_dir)
        own = model.selection
        selection, origin = _window(source, own, window, mass_min, mass_max)
        selection = replace(selection, classes=own.classes if classes is None else classes)
        labels = select_labels(source, selection)
        cluster, n_empty = _clusters(model, source, selection, workers)
        document = agreement_document(
            model,
            source,
            training_source(data),
            selection,
            labels,
            cluster,
            bootstrap,
            seed,
            window_from=origin,
            n_without_constituents=n_empty,
        )
    if as_json:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print(document, model_dir, data)
    if plot is not None:
        _draw(document, labels.class_names, plot)


def _print(document: dict[str, Any], model_dir: str, data: str) -> None:
    """Print the numbers as people read them, and what to type next."""
    from rich.console import Console

    from ucluster_tune.report.agreement import agreement_view

    Console(highlight=False).print(agreement_view(document))
    words = [program(), "predict", model_dir, data, "--out", "clusters.parquet"]
    click.echo(f"Next, the cluster of every jet: {shlex.join(words)}")


def _window(
    source: "JetSource",
    own: "Selection",
    chosen: str | None,
    mass_min: float | None,
    mass_max: float | None,
) -> "tuple[Selection, str]":
    """Return the window of masses, and in words where it comes from.

    HDF5 files hold all masses, and numbers about them are read beside the published ones; a data
    set is measured as the search that trained the model measured it.
    """
    from ucluster_tune.data.hls4ml.stream import Hls4mlJets
    from ucluster_tune.data.reading.selection import Selection

    published, own = Selection(), replace(own, classes=None)
    if chosen is None:
        chosen = "published" if isinstance(source, Hls4mlJets) else "model"
    window = published if chosen == "published" else own
    if own == published:
        origin = "as published, and as the model was trained"
    elif window == published:
        origin = f"as published; the model was trained on {own} (--window model)"
    else:
        origin = f"as the model was trained; published is {published} (--window published)"
    given = {"--mass-min": mass_min, "--mass-max": mass_max}
    named = " and ".join(name for name, value in given.items() if value is not None)
    if named:
        origin = f"from {named}" if "and" in named else f"from {named}, else {origin}"
    low = window.mass_min_gev if mass_min is None else mass_min
    high = window.mass_max_gev if mass_max is None else mass_max
    if low >= high:
        raise click.UsageError(f"--mass-min {low:g} must be below --mass-max {high:g}")
    return Selection(low, high), origin


def _clusters(
    model: "SavedModel", source: "JetSource", selection: "Selection", n_workers: int
) -> "tuple[IntArray, int]":
    """Return the cluster of each selected jet, and how many of them have no constituents."""
    import numpy as np

    from ucluster_tune.data.reading.jet_source import SelectedJets
    from ucluster_tune.report.progress import JetProgress

    selected = SelectedJets(source, selection)
    clusters, n_empty = [], 0
    with (
        JetProgress("evaluating", sum(source.block_sizes)) as progress,
        predictions(model, selected, n_workers, DEFAULT_BATCH) as found,
    ):
        for part in found:
            clusters.append(part.cluster)
            n_empty += int((part.n_constituents == 0).sum())
            progress.advance(len(part.cluster))
    return np.concatenate(clusters), n_empty


def _draw(document: dict[str, Any], class_names: tuple[str, ...], path: Path) -> None:
    """Draw the model's confusion matrix."""
    import numpy as np

    from ucluster_tune.report.pictures import draw_confusion_matrix

    confusion = np.array(document["results"]["model"]["confusion"])
    title = f"{document['jets']['passed']:,} jets, {document['selection']['text']}"
    with explained(path, MachineError):
        draw_confusion_matrix(confusion, class_names, title, path)
    click.echo(f"confusion matrix: {path}", err=True)
