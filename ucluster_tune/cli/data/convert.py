"""`ucluster-tune data convert`: HLS4ML files to a parquet data set."""

import math
import shlex
from contextlib import ExitStack
from pathlib import Path

import click

from ucluster_tune.cli.data.jet_options import (
    SPLITS,
    ClassList,
    FiniteRange,
    Fractions,
    LocalPath,
    new_dataset_option,
    progress_bar,
)


@click.command(
    epilog="""\b
    Example:
      ucluster-tune data convert hls4ml_LHCjet_100p_train.tar.gz --out data/hls4ml
    """
)
@click.argument(
    "source",
    type=LocalPath(
        "copy the files here first with the bucket's own tool (such as `aws s3 cp --recursive`);"
        " a record of Zenodo is fetched by `ucluster-tune data download`"
    ),
)
@new_dataset_option
@click.option(
    "--classes",
    type=ClassList(may_be_none=True),
    default="w,z,t",
    show_default=True,
    help="Jet classes to keep: some of g,q,w,z,t (gluon, light quark, W, Z, top); none: all jets,"
    " and no classes are kept.",
)
@click.option(
    "--mass-min",
    type=FiniteRange(min=0),
    metavar="GEV",
    help="Leave out jets with this mass or less.  [default: none; a search selects again]",
)
@click.option(
    "--mass-max",
    type=FiniteRange(min=0),
    metavar="GEV",
    help="Leave out jets with this mass or more.  [default: none; a search selects again]",
)
@click.option(
    "--fractions",
    type=Fractions(),
    default="0.64,0.16,0.2",
    show_default=True,
    help="Shares of train, validation and test; each jet is dealt by lot.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    default=1,
    show_default=True,
    help="Decides which jet goes into which split; the selection does not change that.",
)
@click.option(
    "--row-group-size",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=1024,
    show_default=True,
    help="Jets in a row group, the piece that one worker reads.",
)
@click.option(
    "--max-bad-jets",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="Jets with values that are not finite or absurd to leave out, before giving up.",
)
def convert(
    *,
    source: Path,
    out: Path,
    classes: tuple[str, ...],
    mass_min: float | None,
    mass_max: float | None,
    fractions: tuple[float, ...],
    seed: int,
    row_group_size: int,
    max_bad_jets: int,
) -> None:
    """Convert HLS4ML LHC jets to a data set.

    SOURCE is an HDF5 file of the Zenodo record 10.5281/zenodo.3602254, a folder of such files
    (a git clone, too) or of the record's archives, one archive (.tar, .tar.gz), or parquet files
    of the public mirror of the 150-particle jets. Memory does not grow with it.
    """
    low = -math.inf if mass_min is None else mass_min
    high = math.inf if mass_max is None else mass_max
    if low >= high:
        raise click.BadParameter(
            f"{low:g} must be below --mass-max, {high:g}", param_hint="'--mass-min'"
        )

    from ucluster_tune.data.hls4ml.conversion import ConversionSettings, convert_dataset
    from ucluster_tune.data.reading.selection import Selection
    from ucluster_tune.report.cells import program

    command = [
        *("ucluster-tune", "data", "convert", str(source), "--out", str(out)),
        *("--classes", ",".join(classes) or "none"),
        *([] if mass_min is None else ["--mass-min", str(mass_min)]),
        *([] if mass_max is None else ["--mass-max", str(mass_max)]),
        *("--fractions", ",".join(str(fraction) for fraction in fractions)),
        *("--seed", str(seed)),
        *("--row-group-size", str(row_group_size)),
        *("--max-bad-jets", str(max_bad_jets)),
    ]
    progress, tasks = progress_bar(in_bytes=True), []
    with ExitStack() as stack:

        def begin(n_bytes: int) -> None:
            stack.enter_context(progress)  # not before there is something to show
            tasks.append(progress.add_task("converting jets", total=n_bytes))

        conversion = convert_dataset(
            source,
            out,
            ConversionSettings(Selection(low, high, classes), fractions, seed, max_bad_jets),
            command=shlex.join(command),
            row_group_size=row_group_size,
            on_size=begin,
            on_bytes=lambda n_bytes: progress.advance(tasks[0], n_bytes),
        )
    manifest = conversion.manifest
    sizes = ", ".join(f"{manifest.n_jets(split)} {split}" for split in SPLITS)
    kind = f"of classes {', '.join(manifest.classes)}" if classes else "without classes"
    click.echo(f"{out}: {sizes} jets {kind}")
    reasons = "".join(f", {n} {reason}" for reason, n in conversion.left_out.items())
    left_out = f"; left out:{reasons[1:]}" if reasons else ""
    click.echo(f"{conversion.n_jets} jets were read{left_out}")
    for remark in conversion.remarks:
        click.secho(f"Warning: {remark}", fg="yellow", err=True)
    click.echo(f"Next: {program()} data describe {shlex.quote(str(out))}")
