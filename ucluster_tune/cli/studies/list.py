"""`ucluster-tune list`: all studies of a folder."""

import json

import click
from rich.console import Console, RenderableType
from rich.text import Text

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import studies_dir_option
from ucluster_tune.report import following
from ucluster_tune.report.cells import command, program
from ucluster_tune.report.study_tables import studies_table
from ucluster_tune.study import status
from ucluster_tune.study.paths import open_studies


@click.command(
    cls=OnCluster,
    name="list",
    epilog="""\b
    Example:
      ucluster-tune list
      ucluster-tune list --studies-dir /data/studies --json
    """,
)
@studies_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--follow", is_flag=True, help="Keep showing them while one of them runs.")
def list_studies(studies_dir: str | None, as_json: bool, follow: bool) -> None:
    """List all studies: how they stand and the best accuracy of each."""
    folder = open_studies(studies_dir)
    studies = status.list_studies(folder)
    if as_json and not follow:
        click.echo(json.dumps(studies, indent=2))
        return
    if not studies:
        click.echo(f"No study in {folder.place}. Next: {program()} run FILE", err=True)
        return

    def look() -> tuple[RenderableType, bool]:
        now = status.list_studies(folder)
        view = Text(json.dumps(now, indent=2)) if as_json else studies_table(now)
        return view, all(study["state"] != "running" for study in now)

    console = Console(highlight=False)
    if follow:
        following.follow(look, console)
    else:
        console.print(studies_table(studies))
    if not as_json:
        latest = max(studies, key=lambda study: str(study.get("started", "")))["name"]
        click.echo(f"Next: {command('status', folder.study(latest), latest)}", err=True)
