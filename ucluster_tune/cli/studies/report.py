"""`ucluster-tune report` and `compare`: pages that answer what searches were for."""

import re
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study, studies_dir_option
from ucluster_tune.errors import DataError, StudyError
from ucluster_tune.report import cells
from ucluster_tune.study.paths import StudyPaths, open_studies
from ucluster_tune.study.status import find_study, read_study

if TYPE_CHECKING:
    from ucluster_tune.report.page.writing import Page

_COMPARISON = Path("comparison")
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


class License(click.ParamType[str]):
    """An SPDX name."""

    name = "SPDX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; fails on what cannot be one."""
        if _SPDX.fullmatch(str(value)) is None:
            self.fail(f"{value!r} is no SPDX name, such as CC-BY-4.0 or CC0-1.0", param, ctx)
        return str(value)


_open_option = click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
_latex_option = click.option("--latex", is_flag=True, help="Write its tables as .tex files too.")


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune report quickstart
      ucluster-tune report quickstart --open
      ucluster-tune report quickstart --out talk --latex
      ucluster-tune report quickstart --bundle
      ucluster-tune report quickstart --gallery docs/gallery
    """,
)
@one_study
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder to write into.  [default: report, in the study's folder]",
)
@_open_option
@_latex_option
@click.option(
    "--gallery",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write its pictures as small PNG files, and a page on how to read them, in its place.",
)
@click.option("--svg", is_flag=True, help="Write its pictures as SVG alone, which is faster.")
@click.option(
    "--bundle",
    "is_bundle",
    is_flag=True,
    help="Write NAME.zip in its place, for Zenodo or a supplement.",
)
@click.option(
    "--license",
    "license_name",
    type=License(),
    default="CC-BY-4.0",
    show_default=True,
    help="Of a bundle: what others may do with it, by its SPDX name.",
)
def report(
    name: str,
    studies_dir: str | None,
    out: Path | None,
    is_opened: bool,
    latex: bool,
    gallery: Path | None,
    svg: bool,
    is_bundle: bool,
    license_name: str,
) -> None:
    """Write the page that answers what study NAME was for.

    One HTML file that needs nothing else, also while the study runs: the answer in words, the
    best configuration, yardsticks, learning curves, what the hyperparameters did, and what the
    best trial makes of the jets. Its pictures lie beside it as PNG, PDF and SVG. A bundle has the
    page, its pictures and tables, the configurations, the record, all metrics as CSV, and their
    provenance as RO-Crate.
    """
    from ucluster_tune.report.page.gallery import write_gallery
    from ucluster_tune.report.page.writing import study_page

    paths = find_study(open_studies(studies_dir), name)
    folder = paths.report if out is None else out
    if is_bundle:
        _write_bundle(paths, folder / f"{name}.zip", license_name)
        return
    page = study_page(read_study(paths), paths)
    if gallery is not None:
        click.echo(cells.shown_path(write_gallery(page, gallery).absolute()))
        return
    _write(page, folder, latex=latex, is_opened=is_opened, svg=svg)


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune compare quickstart wider
      ucluster-tune compare quickstart wider --out talk --open
    """,
)
@click.argument("names", nargs=-1, required=True, metavar="NAME NAME...")
@studies_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=_COMPARISON,
    show_default=True,
    help="Folder to write into.",
)
@_open_option
@_latex_option
def compare(
    names: tuple[str, ...], studies_dir: str | None, out: Path, is_opened: bool, latex: bool
) -> None:
    """Write a page that holds studies against each other.

    What each found on test jets, the best score by cost, the best values, and every setting in
    which they differ.
    """
    from ucluster_tune.report.page.comparison import comparison_page

    if len(set(names)) < 2:
        raise StudyError(f"{names[0]} alone: name two studies or more to compare")
    folder = open_studies(studies_dir)
    found = [find_study(folder, name) for name in dict.fromkeys(names)]
    page = comparison_page([(read_study(paths), paths) for paths in found])
    _write(page, out, latex=latex, is_opened=is_opened)


def _write_bundle(paths: StudyPaths, target: Path, license_name: str) -> None:
    from ucluster_tune.data.format.manifest import read_manifest
    from ucluster_tune.report.bundle.archive import write_bundle
    from ucluster_tune.study.opening import study_config_of

    record = read_study(paths)
    try:
        manifest = read_manifest(study_config_of(record, paths).data.path)
    except DataError as error:
        click.secho(f"Warning: without the manifest of the jets: {error}", fg="yellow", err=True)
        manifest = None
    sizes = write_bundle(record, paths, target, license_name, manifest)
    click.echo(
        f"{cells.shown_path(target.absolute())}: {len(sizes)} files, checked against"
        f" {paths.record.name}, under {license_name}"
    )


def _write(page: "Page", folder: Path, *, latex: bool, is_opened: bool, svg: bool = False) -> None:
    from ucluster_tune.report.page.writing import PICTURE_FORMATS

    path = page.write(folder, latex=latex, formats=() if svg else PICTURE_FORMATS)
    click.echo(cells.shown_path(path.absolute()))
    if is_opened and not webbrowser.open(path.absolute().as_uri()):
        click.echo("No browser was found here; open the file yourself.", err=True)
