"""`ucluster-tune resume`: a study, or all of them, carried on to its budget."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.main import INTERRUPTED
from ucluster_tune.cli.studies.on_cluster import Job, SearchCommand, typed_words
from ucluster_tune.cli.studies.searching import carry_on
from ucluster_tune.cli.studies.study_options import one_study_if_any, until_option
from ucluster_tune.config.yaml_text import quoted
from ucluster_tune.report.cells import program

if TYPE_CHECKING:
    from ucluster_tune.cluster.launched.head import Head
    from ucluster_tune.cluster.place import Place


class _Resume(SearchCommand):
    def invoke(self, ctx: click.Context) -> object:
        """Run the command once it is clear what is to be resumed."""
        if (ctx.params["name"] is None) != ctx.params["is_all"]:
            raise click.UsageError("give either the NAME of a study or --all")
        return super().invoke(ctx)

    def folders_there(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the folder of the jets too."""
        yield from super().folders_there(ctx)
        if ctx.params["data"]:
            yield "--data", ctx.params["data"]

    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Send one job a study; with --all, all of them at once and without a view of them."""
        if not ctx.params["is_all"]:
            return super().run_on(head, ctx)
        words = [word for word in typed_words(ctx) if word != "--all"]
        folder = ctx.params["studies_dir"]
        where = ["--studies-dir", folder] if folder else []
        studies = head.document(["ucluster-tune", "list", "--json", "--local", *where])
        names = interrupted_studies(studies)
        jobs = [Job(["resume", name, *words], {}, name) for name in names]
        for job, job_id in zip(jobs, self.send(head, jobs), strict=True):
            click.echo(f"Study {job.name} goes on as Ray job {job_id}")
        click.echo(f"Next: {program()} list --follow" if names else _NOTHING, err=True)
        return 0


_NOTHING = "No study was interrupted: nothing to resume"


@click.command(
    cls=_Resume,
    epilog="""\b
    Example:
      ucluster-tune resume quickstart
      ucluster-tune resume quickstart --data /disk2/wzt_sample
      ucluster-tune resume --all
    """,
)
@one_study_if_any
@click.option("--all", "is_all", is_flag=True, help="Every study that was interrupted.")
@click.option("--data", metavar="PATH", help="Where the jets are now, if they were moved.")
@until_option
@click.pass_context
def resume(
    ctx: click.Context,
    name: str | None,
    is_all: bool,
    data: str | None,
    until: datetime | None,
    studies_dir: str | None,
    place: "Place",
) -> None:
    """Carry study NAME on, wherever and however it stopped.

    Finished trials stay as they are. Interrupted ones go on from their last checkpoint. Then new
    trials begin, up to the study's budget. With --all one study follows the other; on a cluster
    they go on side by side.
    """
    from ucluster_tune.study.extension import Extension

    moved = Extension(overrides=(f"data.path={quoted(data)}",)) if data else None
    if name is not None:
        ctx.exit(carry_on(name, moved, studies_dir, place, until))
    from ucluster_tune.study.paths import open_studies
    from ucluster_tune.study.status import list_studies

    names = interrupted_studies(list_studies(open_studies(studies_dir)))
    if not names:
        click.echo(_NOTHING, err=True)
    codes = []
    for interrupted in names:
        codes.append(carry_on(interrupted, moved, studies_dir, place, until))
        if codes[-1] == INTERRUPTED:
            break
    ctx.exit(max(codes, default=0))


def interrupted_studies(studies: list[dict[str, object]]) -> list[str]:
    """Return the names of those, of what `list --json` prints, that wait to be carried on.

    >>> interrupted_studies([{"name": "a", "state": "interrupted"}, {"name": "b", "state": "x"}])
    ['a']
    """
    return [str(study["name"]) for study in studies if study["state"] == "interrupted"]
