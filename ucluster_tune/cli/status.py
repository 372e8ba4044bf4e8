"""`ucluster-tune status`: how a study stands, while it runs, after its end or after a kill."""

import json

import click
from rich.console import Console

from ucluster_tune.report.study_tables import next_commands, status_view
from ucluster_tune.search.paths import StudiesFolder, studies_folder
from ucluster_tune.search.status import find_study, read_study, study_status


@click.command(
    epilog="""\b
    Example:
      ucluster-tune status quickstart
      ucluster-tune status quickstart --json
    """
)
@click.argument("name")
@click.option("--studies-dir", metavar="DIR", help="Folder of the studies.  [default: ./studies]")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def status(name: str, studies_dir: str | None, as_json: bool) -> None:
    """Show how study NAME stands: its trials, the best of them, the time left."""
    paths = find_study(StudiesFolder(studies_folder(studies_dir)), name)
    if as_json:
        click.echo(json.dumps(study_status(paths), indent=2, allow_nan=False))
        return
    record = read_study(paths)
    Console(highlight=False).print(status_view(record))
    Console(highlight=False, stderr=True).print(next_commands(record, paths, after_status=True))
