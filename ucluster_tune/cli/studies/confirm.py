"""`ucluster-tune confirm`: the best trials of a study, trained again with fresh seeds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.on_cluster import SearchCommand
from ucluster_tune.cli.studies.searching import carry_confirmation_on
from ucluster_tune.cli.studies.study_options import one_study

if TYPE_CHECKING:
    from ucluster_tune.cluster.place import Place


class _Confirm(SearchCommand):
    def folders_there(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """Yield the folder of the jets too."""
        yield from super().folders_there(ctx)
        if ctx.params["data"]:
            yield "--data", ctx.params["data"]


@click.command(
    cls=_Confirm,
    epilog="""\b
    Example:
      ucluster-tune confirm quickstart
      ucluster-tune confirm quickstart --top 2 --seeds 3
      ucluster-tune confirm quickstart --top 1 --supervised
      ucluster-tune confirm quickstart --epochs 60 --data data/wzt
      ucluster-tune confirm quickstart --jets 100000 --workers 2
    """,
)
@one_study
@click.option(
    "--top",
    type=click.IntRange(1, 100),
    metavar="K",
    help="So many of the best trials.  [default: 3]",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    metavar="S",
    help="So many trainings of each.  [default: 5]",
)
@click.option(
    "--against",
    type=click.Choice(["published", "nothing"]),
    default="published",
    show_default=True,
    help="What is trained beside them: the published recipe, or nothing.",
)
@click.option(
    "--supervised",
    is_flag=True,
    help="Train the published recipe with labels beside them too: what its network could reach at"
    " most.",
)
@click.option(
    "--epochs", type=click.IntRange(min=2), metavar="N", help="Epochs.  [default: as searched]"
)
@click.option("--data", metavar="PATH", help="Other jets to train and test on.")
@click.option(
    "--jets",
    type=click.IntRange(min=2),
    metavar="N",
    help="Jets to train on; all, if there are no more.  [default: as searched]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Horovod workers of a training.  [default: as searched]",
)
@click.pass_context
def confirm(
    ctx: click.Context,
    name: str,
    top: int | None,
    seeds: int | None,
    against: str,
    supervised: bool,
    epochs: int | None,
    data: str | None,
    jets: int | None,
    workers: int | None,
    studies_dir: str | None,
    place: "Place",
) -> None:
    """Train the best trials of study NAME again.

    Each with some fresh seeds, and the published recipe beside them with the same ones. The best
    one is chosen on validation jets and quoted on test jets, with an interval of seeds and jets
    together, and compared with the published recipe, with k-means and thresholds on the same jets,
    and with the reference. With --supervised the network learns the classes of training jets by
    cross-entropy, which no clustering may: an upper bound, in every table beside the yardsticks.
    Killed or stopped, and called again, it goes on where it was; `resume --all` carries it on too.
    """
    from ucluster_tune.study.confirming import ConfirmationRequest

    with_published = against == "published"
    request = ConfirmationRequest(
        top, seeds, with_published, epochs, data, jets, workers, supervised
    )
    ctx.exit(carry_confirmation_on(name, request, studies_dir, place))
