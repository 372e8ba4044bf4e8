"""`ucluster-tune report` and `compare`: pages that answer what searches were for."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study, studies_dir_option
from ucluster_tune.errors import StudyError
from ucluster_tune.report import cells
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study, read_study

if TYPE_CHECKING:
    from ucluster_tune.report.page.writing import Page

_COMPARISON = Path("comparison")

_open_option = click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
_latex_option = click.option("--latex", is_flag=True, help="Write its tables as .tex files too.")


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune report quickstart
      ucluster-tune report quickstart --open
      ucluster-tune report quickstart --out talk --latex
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
def report(
    name: str, studies_dir: str | None, out: Path | None, is_opened: bool, latex: bool
) -> None:
    """Write the page that answers what study NAME was for.

    One HTML file that needs nothing else, also while the study runs: the answer in words, the
    best configuration, yardsticks, learning curves, what the hyperparameters did, and what the
    best trial makes of the jets. Its pictures lie beside it as PNG, PDF and SVG.
    """
    from ucluster_tune.report.page.writing import study_page

    paths = find_study(open_studies(studies_dir), name)
    page = study_page(read_study(paths), paths)
    _write(page, paths.report if out is None else out, latex=latex, is_opened=is_opened)


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


def _write(page: "Page", folder: Path, *, latex: bool, is_opened: bool) -> None:
    path = page.write(folder, latex=latex)
    click.echo(cells.shown_path(path.absolute()))
    if is_opened and not webbrowser.open(path.absolute().as_uri()):
        click.echo("No browser was found here; open the file yourself.", err=True)
