"""What simple ways to cluster reach on a data set, as a table."""

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.report.yardstick_words import reference_words
from ucluster_tune.training.yardsticks import Interval, Measured, Yardsticks


def yardsticks_view(
    yardsticks: Yardsticks, reference_accuracy: float, reference_source: str, split: str = "test"
) -> RenderableType:
    """Return a table of all yardsticks, how they were made, and what the reference is worth."""
    found = yardsticks.yardsticks
    n_jets = found[0].by_split[split].n_jets
    head = f"On {n_jets:,} {split} jets of {yardsticks.dataset_name}"
    accuracy = "accuracy\n95 % interval"
    table = cells.plain_table("", accuracy, "in batches\n95 % interval", "NMI", "ARI", left=("",))
    for yardstick in found:
        here = yardstick.by_split[split]
        title = yardstick.title.replace(" (", "\n(")
        table.add_row(Text(title), *_accuracies(here), f"{here.nmi:.3f}", f"{here.ari:.3f}")
    table.add_row("reference", "", cells.percent(reference_accuracy), "", "")
    notes = [
        *(f"{yardstick.title}: {yardstick.how}" for yardstick in found),
        f"in batches: matched anew in each batch of {yardsticks.evaluation_batch_size} jets, as"
        " published, which flatters",
        reference_words(yardsticks, reference_accuracy, reference_source),
    ]
    return Group(Text(head, style="bold"), table, Text(), *(Text(n, style="dim") for n in notes))


def _accuracies(here: Measured) -> list[str]:
    return [
        f"{cells.percent(value)}\n{interval_in_percent(interval)}"
        for value, interval in (
            (here.clustering_accuracy, here.clustering_accuracy_interval),
            (here.clustering_accuracy_batched, here.clustering_accuracy_batched_interval),
        )
    ]


def interval_in_percent(interval: Interval) -> str:
    """Return both ends in per cent, without a sign of it."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"
