"""`ucluster-tune resume`: a study carried on to its budget."""

import json
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.on_cluster import SearchCommand
from ucluster_tune.cli.searching import show_search

if TYPE_CHECKING:
    from ucluster_tune.cluster.place import Place
    from ucluster_tune.search.record import StudyRecord
    from ucluster_tune.search.session import SearchSetting


@click.command(
    cls=SearchCommand,
    epilog="""\b
    Example:
      ucluster-tune resume quickstart
      ucluster-tune resume quickstart --data /disk2/wzt_sample
    """,
)
@click.argument("name")
@click.option("--data", metavar="PATH", help="Where the jets are now, if they were moved.")
@click.option("--studies-dir", metavar="DIR", help="Folder of the studies.  [default: ./studies]")
@click.pass_context
def resume(
    ctx: click.Context, name: str, data: str | None, studies_dir: str | None, place: "Place"
) -> None:
    """Carry study NAME on, wherever and however it stopped.

    Finished trials stay as they are. Interrupted ones go on from their last checkpoint. Then new
    trials begin, up to the study's budget.
    """

    def search(setting: "SearchSetting") -> "StudyRecord":
        from ucluster_tune.search.extension import Extension
        from ucluster_tune.search.runner import resume_study

        extension = Extension(overrides=(f"data.path={json.dumps(data)}",)) if data else None
        return resume_study(name, setting, extension)

    ctx.exit(show_search(search, studies_dir, place))
