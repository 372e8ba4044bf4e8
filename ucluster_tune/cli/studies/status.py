"""`ucluster-tune status`: how a study stands, while it runs, after its end or after a kill."""

import json

import click
from rich.console import Console, RenderableType
from rich.text import Text

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study_if_any
from ucluster_tune.report import following
from ucluster_tune.report.study_tables import next_commands, status_view
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study, read_study, study_status


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune status
      ucluster-tune status quickstart
      ucluster-tune status quickstart --follow
      ucluster-tune status quickstart --json
    """,
)
@one_study_if_any
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
@click.option("--follow", is_flag=True, help="Keep showing it while the study runs.")
def status(name: str | None, studies_dir: str | None, as_json: bool, follow: bool) -> None:
    """Show how study NAME stands: its trials, the best of them, the time left.

    Without NAME it is the study of which something was recorded last.
    """
    paths = find_study(open_studies(studies_dir), name)
    console = Console(highlight=False)

    def look() -> tuple[RenderableType, bool]:
        record = read_study(paths)
        view: RenderableType = status_view(record, paths)
        if as_json:
            view = Text(json.dumps(study_status(paths), indent=2, allow_nan=False))
        return view, record.state != "running"

    if follow:
        following.follow(look, console)
    elif as_json:
        click.echo(json.dumps(study_status(paths), indent=2, allow_nan=False))
    else:
        console.print(look()[0], crop=False)
    if not as_json:
        commands = next_commands(read_study(paths), paths, after_status=True)
        Console(highlight=False, stderr=True).print(commands, crop=False)
