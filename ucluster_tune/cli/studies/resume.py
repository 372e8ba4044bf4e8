"""`ucluster-tune resume`: a study, or all of them, carried on to its budget."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.main import INTERRUPTED
from ucluster_tune.cli.studies.on_cluster import Job, SearchCommand, typed_words
from ucluster_tune.cli.studies.searching import carry_confirmation_on, carry_on
from ucluster_tune.cli.studies.study_options import (
    one_study_if_any,
    report_option,
    until_option,
)
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
        if ctx.params["is_all"] and ctx.params["trials"] is not None:
            raise click.UsageError("--trials is of one study: give its NAME in place of --all")
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
        jobs += [Job(["confirm", name, *where], {}, name) for name in open_confirmations(studies)]
        for job, job_id in zip(jobs, self.send(head, jobs), strict=True):
            click.echo(f"Study {job.name} goes on as Ray job {job_id}")
        click.echo(f"Next: {program()} list --follow" if jobs else _NOTHING, err=True)
        return 0


_NOTHING = "No study was interrupted: nothing to resume"


@click.command(
    cls=_Resume,
    epilog="""\b
    Example:
      ucluster-tune resume quickstart
      ucluster-tune resume quickstart --data /disk2/wzt_sample
      ucluster-tune resume quickstart --trials 5
      ucluster-tune resume --all
    """,
)
@one_study_if_any
@click.option(
    "--all", "is_all", is_flag=True, help="Every search or confirmation that was interrupted."
)
@click.option("--data", metavar="PATH", help="Where the jets are now, if they were moved.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="So many trials in all from now on, fewer or more than it was to have.",
)
@until_option
@report_option
@click.pass_context
def resume(
    ctx: click.Context,
    name: str | None,
    is_all: bool,
    data: str | None,
    trials: int | None,
    until: datetime | None,
    has_report: bool,
    studies_dir: str | None,
    place: "Place",
) -> None:
    """Carry study NAME on, wherever and however it stopped.

    Finished trials stay as they are. Interrupted ones go on from their last checkpoint. Then new
    trials begin, up to the study's budget, which --trials lowers or raises. With --all one study
    follows the other; on a cluster they go on side by side.
    """
    from ucluster_tune.study.extension import Extension

    overrides = [f"data.path={quoted(data)}"] if data else []
    overrides += [] if trials is None else [f"budget.n_trials={trials}"]
    changed = Extension(overrides=tuple(overrides)) if overrides else None
    if name is not None:
        ctx.exit(carry_on(name, changed, studies_dir, place, until, has_report=has_report))
    from ucluster_tune.study.confirming import ConfirmationRequest
    from ucluster_tune.study.paths import open_studies
    from ucluster_tune.study.status import list_studies

    studies = list_studies(open_studies(studies_dir))
    names, to_confirm = interrupted_studies(studies), open_confirmations(studies)
    if not names and not to_confirm:
        click.echo(_NOTHING, err=True)
    ways_on = [
        partial(carry_on, name, changed, studies_dir, place, until, has_report=has_report)
        for name in names
    ]
    ways_on += [
        partial(carry_confirmation_on, name, ConfirmationRequest(), studies_dir, place)
        for name in to_confirm
    ]
    codes = []
    for go_on in ways_on:
        codes.append(go_on())
        if codes[-1] == INTERRUPTED:
            break
    ctx.exit(max(codes, default=0))


def interrupted_studies(studies: list[dict[str, object]]) -> list[str]:
    """Return the names of those, of what `list --json` prints, that wait to be carried on.

    >>> interrupted_studies([{"name": "a", "state": "interrupted"}, {"name": "b", "state": "x"}])
    ['a']
    """
    return [str(study["name"]) for study in studies if study["state"] == "interrupted"]


def open_confirmations(studies: list[dict[str, object]]) -> list[str]:
    """Return the names of those whose finalists are trained no further, and are not done.

    >>> open_confirmations([{"name": "a", "state": "complete", "open_confirmation": "c1"}])
    ['a']
    """
    waiting = (s for s in studies if s["state"] != "running" and s.get("open_confirmation"))
    return [str(study["name"]) for study in waiting]
