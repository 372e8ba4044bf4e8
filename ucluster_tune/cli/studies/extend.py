"""`ucluster-tune extend`: more trials for a study, finished or not."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.on_cluster import SearchCommand
from ucluster_tune.cli.studies.searching import carry_on
from ucluster_tune.cli.studies.study_options import one_study, set_option, until_option

if TYPE_CHECKING:
    from ucluster_tune.cluster.place import Place


class _Extend(SearchCommand):
    def folders_there(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the folder of the jets too, which is set there as it was typed."""
        yield from super().folders_there(ctx)
        for override in ctx.params["overrides"]:
            path, _, value = (part.strip() for part in override.partition("="))
            if path == "data.path" and value:
                yield "--set data.path", value.strip("'\"")


@click.command(
    cls=_Extend,
    epilog="""\b
    Example:
      ucluster-tune extend quickstart --trials 8
      ucluster-tune extend quickstart --hours 2
      ucluster-tune extend quickstart --set budget.core_hours=100
      ucluster-tune extend quickstart --trials 8 --set search_space.model.n_neighbors.high=20
    """,
)
@one_study
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="So many further trials; `resume NAME --trials N` sets their number in all.",
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True, max=24 * 366),
    metavar="H",
    help="Trials begin for so many hours.",
)
@set_option
@until_option
@click.pass_context
def extend(
    ctx: click.Context,
    name: str,
    trials: int | None,
    hours: float | None,
    overrides: tuple[str, ...],
    until: datetime | None,
    studies_dir: str | None,
    place: "Place",
) -> None:
    """Give study NAME more trials, with all that it has learnt, and carry it on.

    With --set the ranges that are searched may change, and how the search goes on; what would make
    the trials so far incomparable is refused.
    """
    if trials is not None and hours is not None:
        raise click.UsageError("give either --trials N or --hours H")
    if trials is None and hours is None and not overrides:
        raise click.UsageError("give --trials N, --hours H, or --set budget.KEY=VALUE")
    if trials is not None and trials < 1:
        raise click.UsageError(
            f"--trials {trials}: are further trials, 1 or more; fewer than the study was to have:"
            f" `ucluster-tune resume {name} --trials N`, where N is their number in all"
        )

    from ucluster_tune.study.extension import Extension

    ctx.exit(carry_on(name, Extension(trials, hours, overrides), studies_dir, place, until))
