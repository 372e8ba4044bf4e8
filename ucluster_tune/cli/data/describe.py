"""`ucluster-tune data describe`: what is in a data set, and whether it is whole."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ucluster_tune.cli.data.jet_options import ClassList, picture_option, progress_bar
from ucluster_tune.errors import MachineError
from ucluster_tune.storage.whole_files import refuse_unwritable

if TYPE_CHECKING:
    from rich.table import Table

    from ucluster_tune.data.reading.description import DatasetDescription
    from ucluster_tune.models.fingerprint import Fingerprint


@click.command(
    epilog="""\b
    Example:
      ucluster-tune data describe data/wzt
      ucluster-tune data describe data/wzt --plot wzt.png
      ucluster-tune data describe data/wzt --fingerprint --model published
    """
)
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@picture_option
@click.option(
    "--fingerprint",
    is_flag=True,
    help="Tell how far the jets are from those that --model was trained on, by its own batch-norm"
    " averages.",
)
@click.option(
    "--model",
    metavar="MODEL_DIR",
    help="For --fingerprint: a model folder, a study, a trial's folder or a checkpoint.",
)
@click.option(
    "--classes",
    type=ClassList(),
    help="For --fingerprint: classes to take.  [default: as the model was trained, else w,z,t]",
)
def describe(
    folder: str,
    as_json: bool,
    plot: Path | None,
    fingerprint: bool,
    model: str | None,
    classes: tuple[str, ...] | None,
) -> None:
    """Show what is in a data set, and whether it is whole.

    DIR may also be a URI such as s3://BUCKET/FOLDER, whose files are then fetched twice, once for
    each of the following. Compares all files of the data set in DIR with the checksums of its
    manifest, then counts jets by class and split, and reads mass, number of constituents and
    features of all of them. Exits with 1 when something is wrong.

    The picture of --plot has the spectra of all quantities by class. With --fingerprint the jets,
    at most 12 000 chosen by lot, are also sent through a model, whose layers remember mean and
    variance of all that they saw in training.
    """
    if fingerprint != (model is not None):
        raise click.UsageError(
            "--fingerprint compares the jets with those that a model was trained on: give both"
            " --fingerprint and --model MODEL_DIR (`ucluster-tune weights import` makes one of"
            " published weights)"
        )
    if plot is not None:
        refuse_unwritable(plot, MachineError)
    from ucluster_tune.config.yaml_text import quoted
    from ucluster_tune.data.format.manifest import read_manifest
    from ucluster_tune.data.reading.description import describe_dataset
    from ucluster_tune.errors import DataError
    from ucluster_tune.report.cells import program

    n_bytes = sum(file.n_bytes for file in read_manifest(folder).files)
    with progress_bar(in_bytes=True) as progress:
        task = progress.add_task("checking and reading", total=2 * n_bytes)
        description = describe_dataset(
            folder,
            with_spectra=plot is not None,
            on_bytes=lambda n_bytes: progress.advance(task, n_bytes),
        )
    found = None
    if model is not None and not description.faults:
        found = _fingerprint(folder, model, classes)
    if as_json:
        click.echo(json.dumps(_document(description, found, model), indent=2, allow_nan=False))
    else:
        _print(description)
        if found is not None and model is not None:
            _print_fingerprint(found, model)
    for remark in description.remarks:
        click.secho(f"Warning: {remark}", fg="yellow", err=True)
    if description.faults:
        raise DataError("\n".join([f"{folder}: not whole", *description.faults]))
    if plot is not None:
        from ucluster_tune.report.spectra import draw_spectra

        draw_spectra(description, plot)
    if not as_json:
        if plot is not None:
            click.echo(f"Spectra: {plot}")
        click.echo(
            f"Next: {program()} run search_spaces/quickstart.yaml --name NAME"
            f" --set data.path={shlex.quote(quoted(folder))}"
        )


def _fingerprint(folder: str, model: str, classes: tuple[str, ...] | None) -> "Fingerprint":
    from dataclasses import replace

    from ucluster_tune.cli.models.arguments import load_model
    from ucluster_tune.data.reading.jet_source import open_parquet

    opened = load_model(model)  # before anything else loads TensorFlow, with all its news
    from ucluster_tune.models.fingerprint import PUBLISHED_CLASSES, take_fingerprint

    wanted = classes or opened.selection.classes or PUBLISHED_CLASSES
    return take_fingerprint(
        opened, open_parquet(folder), replace(opened.selection, classes=wanted)
    )


def _print_fingerprint(found: "Fingerprint", model: str) -> None:
    from rich.console import Console

    from ucluster_tune.report.fingerprint_view import fingerprint_view

    Console(highlight=False).print(fingerprint_view(found, model))


def _document(
    description: "DatasetDescription", found: "Fingerprint | None", model: str | None
) -> dict[str, Any]:
    manifest = description.manifest
    more = {}
    if found is not None and model is not None:
        from ucluster_tune.report.fingerprint_view import fingerprint_document

        more["fingerprint"] = fingerprint_document(found, model)
    return {
        "path": str(description.path),
        "is_whole": not description.faults,
        "faults": list(description.faults),
        "remarks": list(description.remarks),
        "name": manifest.name,
        "source": manifest.source,
        "command": manifest.command,
        "created": manifest.created,
        "format_version": manifest.format_version,
        "checksum": manifest.dataset_checksum,
        "settings": manifest.settings,
        "n_bytes": description.n_bytes,
        "splits": {
            name: {
                "n_jets": sum(split.jets.values()),
                "n_files": split.n_files,
                "n_row_groups": split.n_row_groups,
                "n_bytes": split.n_bytes,
                "jets": split.jets,
            }
            for name, split in description.splits.items()
        },
        "mass_gev": description.mass_gev,
        "n_constituents": description.n_constituents,
        "features": description.features,
        **more,
    }


def _print(description: "DatasetDescription") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_origin(description))
    if description.splits:
        console.print(_jets(description))
        console.print(_quantiles("Jet mass (GeV)", description.mass_gev, "{:.1f}"))
        console.print(_quantiles("Constituents", description.n_constituents, "{:.0f}"))
        console.print(_features(description))


def _origin(description: "DatasetDescription") -> "Table":
    from rich.table import Table
    from rich.text import Text

    manifest = description.manifest
    table = Table(title=Text(f"Data set {manifest.name}"), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    n_faults = len(description.faults)
    files = f"{len(manifest.files)} files, {description.n_bytes / 1e6:.1f} MB"
    rows = {
        "Folder": str(description.path),
        "Source": manifest.source,
        "Command": manifest.command,
        "Created": manifest.created,
        "Files": f"{files}, format version {manifest.format_version}",
        "Checksum": manifest.dataset_checksum,
        "Whole": f"no: {n_faults} fault{'s' * (n_faults > 1)}"
        if n_faults
        else "yes, all checksums hold",
    }
    for name, text in rows.items():
        table.add_row(name, Text(text))
    return table


def _jets(description: "DatasetDescription") -> "Table":
    classes = list(description.mass_gev)
    table = _table("Jets", "Split", *map(_class_label, classes), "all", "Row groups", "MB")
    for name, split in description.splits.items():
        table.add_row(
            name,
            *(f"{split.jets.get(key, 0)}" for key in classes),
            f"{sum(split.jets.values())}",
            f"{split.n_row_groups}",
            f"{split.n_bytes / 1e6:.1f}",
        )
    return table


def _quantiles(title: str, by_class: dict[str, dict[str, float]], shown: str) -> "Table":
    names = [*next(iter(by_class.values()))]
    headings = [f"{int(name[1:])} %" if name[0] == "q" else name for name in names]
    table = _table(title, "Class", *headings)
    for key, values in by_class.items():
        table.add_row(_class_label(key), *(shown.format(values[name]) for name in names))
    return table


def _features(description: "DatasetDescription") -> "Table":
    table = _table("Features of constituents", "Feature", "min", "mean", "max")
    for name, values in description.features.items():
        table.add_row(name, *(f"{value:.4g}" for value in values.values()))
    return table


def _table(title: str, first: str, *headings: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _class_label(key: str) -> str:
    from ucluster_tune.report.pictures import CLASS_LABELS

    return CLASS_LABELS.get(key, key)
