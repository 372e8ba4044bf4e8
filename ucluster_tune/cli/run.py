"""`ucluster-tune run`: a whole search, shown while it runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.searching import show_search
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.study_rules import warnings_for

if TYPE_CHECKING:
    from ucluster_tune.search.record import StudyRecord
    from ucluster_tune.search.session import SearchSetting


@click.command(
    epilog="""\b
    Example:
      ucluster-tune run search_spaces/quickstart.yaml
      ucluster-tune run search_spaces/quickstart.yaml --name wider --trials 20
    """
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Name of the study.  [default: as in FILE]")
@click.option("--trials", type=int, metavar="N", help="Number of trials.  [default: as in FILE]")
@click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    help="Change a value of the file; may be given several times.",
)
@click.option(
    "--warm-start", metavar="STUDY", help="Learn from another study's trials from the start."
)
@click.option("--studies-dir", metavar="DIR", help="Folder of the studies.  [default: ./studies]")
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    name: str | None,
    trials: int | None,
    overrides: tuple[str, ...],
    warm_start: str | None,
    studies_dir: str | None,
) -> None:
    """Run the search that FILE describes.

    Shows a table of the trials while they run. Ctrl-C finishes the running epochs and ends in
    order; a second one ends at once. `ucluster-tune resume` carries it on.
    """
    options = [] if name is None else [f"name={json.dumps(name)}"]  # text, even `2024`
    options += [] if trials is None else [f"budget.n_trials={trials}"]
    config = load_study_config(file, [*overrides, *options])
    for warning in warnings_for(config):
        click.secho(f"Warning: {warning}", fg="yellow", err=True)

    def search(setting: "SearchSetting") -> "StudyRecord":
        from ucluster_tune.search.runner import run_study

        return run_study(config, setting, warm_start)

    ctx.exit(show_search(search, studies_dir))
