"""`ucluster-tune data simulate`: jets from Pythia 8 and FastJet."""

import os
import shlex
from pathlib import Path

import click

from ucluster_tune.cli.data.jet_options import (
    SPLITS,
    ClassList,
    FiniteRange,
    Fractions,
    new_dataset_option,
    progress_bar,
)


@click.command(
    epilog="""\b
    Example:
      ucluster-tune data simulate --out data/wzt --jets-per-class 20000
    """
)
@new_dataset_option
@click.option(
    "--classes",
    type=ClassList(),
    default="w,z,t",
    show_default=True,
    help="Jet classes: some of g,q,w,z,t (gluon, light quark, W, Z, top).",
)
@click.option(
    "--jets-per-class",
    type=click.IntRange(1, 10_000_000),
    metavar="N",
    default=3000,
    show_default=True,
    help="Number of jets of each class.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    default=1,
    show_default=True,
    help="The same seed and options give the same jets.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="all cores",
    help="Processes to simulate with; the jets do not depend on it.",
)
@click.option(
    "--radius",
    type=FiniteRange(0.1, 1.5),
    metavar="R",
    default=0.4,
    show_default=True,
    help="Of the anti-kT jets, in [0.1, 1.5].",
)
@click.option(
    "--parton-pt-min",
    type=FiniteRange(150.0, 5000.0),
    metavar="GEV",
    default=995.0,
    show_default=True,
    help="Least pt of the two particles that leave the hard process.",
)
@click.option(
    "--parton-pt-max",
    type=FiniteRange(150.0, 6000.0),
    metavar="GEV",
    default=1005.0,
    show_default=True,
    help="Their largest pt; gluons have none.",
)
@click.option(
    "--on-shell/--off-shell",
    default=True,
    show_default=True,
    help="W, Z and top leave the hard process with one mass each, or with their widths.",
)
@click.option(
    "--mpi/--no-mpi",
    default=True,
    show_default=True,
    help="Multiparton interactions; without them Pythia is 5 times faster, all of it 2 to 3.",
)
@click.option(
    "--emulation/--no-emulation",
    default=True,
    show_default=True,
    help="Emulation of tracker and calorimeter cells with their errors; without it every visible"
    " particle is measured exactly.",
)
@click.option(
    "--smearing-scale",
    type=FiniteRange(0.0, 10.0),
    metavar="FACTOR",
    default=0.5,
    show_default=True,
    help="Factor of all errors of the emulation, in [0, 10].",
)
@click.option(
    "--min-pt",
    type=FiniteRange(0.0, 20.0),
    default=0.25,
    show_default=True,
    metavar="GEV",
    help="Constituents below this transverse momentum, in [0, 20] GeV, are not stored; mass and"
    " momentum of the jet are those of all of them.",
)
@click.option(
    "--fractions",
    type=Fractions(),
    default="0.64,0.16,0.2",
    show_default=True,
    help="Shares of train, validation and test.",
)
@click.option(
    "--row-group-size",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=256,
    show_default=True,
    help="Jets in a row group, the piece that one worker reads.",
)
@click.option(
    "--significant-bits",
    type=click.IntRange(2, 24),
    metavar="N",
    default=12,
    show_default=True,
    help="Precision of the stored features: 12 bits are 1 part in 8000; 24 rounds nothing.",
)
def simulate(
    *,
    out: Path,
    classes: tuple[str, ...],
    jets_per_class: int,
    seed: int,
    processes: int,
    radius: float,
    parton_pt_min: float,
    parton_pt_max: float,
    on_shell: bool,
    mpi: bool,
    emulation: bool,
    smearing_scale: float,
    min_pt: float,
    fractions: tuple[float, ...],
    row_group_size: int,
    significant_bits: int,
) -> None:
    """Simulate jets as the published ones were made.

    Uses Pythia 8 and FastJet, of the extra `simulate`. One core makes at least 50 jets a second.
    The defaults are the recipe of the jets that the published 81 % belongs to; docs/data.md tells
    how near to them the result is.
    """
    from ucluster_tune.config.yaml_text import quoted
    from ucluster_tune.data.simulation.dataset import simulate_dataset
    from ucluster_tune.data.simulation.settings import SimulationSettings
    from ucluster_tune.report.cells import program

    _check_split_sizes(jets_per_class, fractions)
    if parton_pt_min >= parton_pt_max:
        raise click.UsageError(
            f"--parton-pt-min {parton_pt_min:g} must be below --parton-pt-max {parton_pt_max:g}"
        )
    command = [
        *("ucluster-tune", "data", "simulate", "--out", str(out)),
        *("--classes", ",".join(classes)),
        *("--jets-per-class", str(jets_per_class)),
        *("--seed", str(seed)),
        *("--radius", str(radius)),
        *("--parton-pt-min", str(parton_pt_min), "--parton-pt-max", str(parton_pt_max)),
        "--on-shell" if on_shell else "--off-shell",
        "--mpi" if mpi else "--no-mpi",
        "--emulation" if emulation else "--no-emulation",
        *("--smearing-scale", str(smearing_scale)),
        *("--min-pt", str(min_pt)),
        *("--fractions", ",".join(str(fraction) for fraction in fractions)),
        *("--row-group-size", str(row_group_size)),
        *("--significant-bits", str(significant_bits)),
    ]
    with progress_bar() as progress:
        task = progress.add_task("simulating jets", total=len(classes) * jets_per_class)
        manifest = simulate_dataset(
            out,
            classes=classes,
            jets_per_class=jets_per_class,
            seed=seed,
            settings=SimulationSettings(
                parton_pt_min_gev=parton_pt_min,
                parton_pt_max_gev=parton_pt_max,
                on_shell=on_shell,
                multiparton_interactions=mpi,
                emulation=emulation,
                smearing_scale=smearing_scale,
                jet_radius=radius,
                min_pt_gev=min_pt,
                significant_bits=significant_bits,
            ),
            fractions=fractions,
            row_group_size=row_group_size,
            n_processes=processes,
            command=shlex.join(command),
            on_jets=lambda n_jets: progress.advance(task, n_jets),
        )
    sizes = ", ".join(f"{manifest.n_jets(split)} {split}" for split in SPLITS)
    click.echo(f"{out}: {sizes} jets of classes {', '.join(classes)}")
    click.echo(
        f"Next: {program()} run search_spaces/quickstart.yaml --name NAME"
        f" --set data.path={shlex.quote(quoted(str(out)))}"
    )


def _check_split_sizes(jets_per_class: int, fractions: tuple[float, ...]) -> None:
    """Refuse a share that comes out as no jets at all: training would find it too late."""
    from ucluster_tune.data.simulation.splits import split_sizes

    sizes = split_sizes(jets_per_class, fractions)
    for split, size, fraction in zip(SPLITS, sizes, fractions, strict=True):
        if size < 1 and fraction > 0:
            raise click.BadParameter(
                f"{jets_per_class} jets of a class leave none for {split} at fraction"
                f" {fraction:g}; ask for more, or change --fractions",
                param_hint="'--jets-per-class'",
            )
