"""`ucluster-tune weights`: published weights to a model folder, and any model back to them."""

import shlex
from dataclasses import replace
from pathlib import Path

import click

from ucluster_tune.cli.data.jet_options import ClassList, LocalPath
from ucluster_tune.cli.models.arguments import model_argument
from ucluster_tune.model.start import prepare_start


@click.group(
    epilog="""\b
    Example:
      ucluster-tune weights import logs/cluster.ckpt --to published
      ucluster-tune weights export quickstart --to best.ckpt
    """
)
def weights() -> None:
    """Import published weights; export a model to them."""


@weights.command(
    "import",
    epilog="""\b
    Example:
      ucluster-tune weights import logs/cluster.ckpt --to published --classes w,z,t
    """,
)
@click.argument("checkpoint", metavar="CKPT", type=LocalPath("copy its files here first"))
@click.option(
    "--to",
    "target",
    type=LocalPath("write it here, and copy it with the bucket's own tool"),
    required=True,
    metavar="MODEL_DIR",
    help="Folder to make; it must not exist yet, or be empty.",
)
@click.option(
    "--neighbors",
    type=click.IntRange(2, 100),
    metavar="K",
    default=10,
    show_default=True,
    help="k of both neighbour searches, which leaves no trace in the weights.",
)
@click.option(
    "--classes",
    type=ClassList(),
    help="Jet classes that the weights were trained on: some of g,q,w,z,t, for `evaluate`."
    "  [default: all]",
)
def import_(
    checkpoint: Path, target: Path, neighbors: int, classes: tuple[str, ...] | None
) -> None:
    """Make a model folder of the published code's weights.

    CKPT is a TensorFlow 1 checkpoint: the name before .index and .data-00000-of-00001. Every
    variable is taken, Adam's state included, so that an export gives back the same checkpoint.
    """
    prepare_start()
    from ucluster_tune.data.reading.selection import Selection
    from ucluster_tune.models.published import read_published
    from ucluster_tune.models.saved import refuse_existing, write_model
    from ucluster_tune.report.cells import program

    refuse_existing(target.absolute())
    model = replace(read_published(checkpoint, neighbors), selection=Selection(classes=classes))
    write_model(model, target)
    click.echo(
        f"{target}: {len(model.parameters):,} weights and {len(model.averages):,} batch-norm"
        f" averages, {model.config.n_clusters} clusters,"
        f" {model.optimizer.n_steps if model.optimizer else 'no'} steps of Adam"
    )
    click.echo(f"Next: {shlex.join([program(), 'evaluate', str(target), 'DATA'])}")


@weights.command(
    epilog="""\b
    Example:
      ucluster-tune weights export quickstart/0003 --to best.ckpt
    """
)
@model_argument
@click.option(
    "--to",
    "target",
    type=LocalPath("write it here, and copy it with the bucket's own tool"),
    required=True,
    metavar="CKPT",
    help="Name of the TensorFlow 1 checkpoint, without ending; nothing is overwritten.",
)
def export(model_dir: str, target: Path) -> None:
    """Write a model as weights that the published code restores.

    MODEL_DIR is a model folder, a study (of which the best trial is taken) or a trial, by name
    or folder, or a checkpoint file.
    """
    prepare_start()
    from ucluster_tune.models.opening import open_model
    from ucluster_tune.models.published import write_published
    from ucluster_tune.study.status import model_folder

    n_variables = write_published(open_model(model_folder(model_dir)), target)
    click.echo(f"{target}: {n_variables} variables (.index and .data-00000-of-00001)")
    click.echo(
        f"Next: tf.compat.v1.train.Saver().restore(session, {str(target)!r}) in the published"
        " code's graph"
    )
