"""What a confirmation of finalists found, as tables."""

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.report.study_tables import plain_table
from ucluster_tune.report.yardstick_tables import interval_in_percent
from ucluster_tune.study.finalists import PROTOCOLS, ConfirmationResult, Estimate


def confirmation_view(result: ConfirmationResult) -> RenderableType:
    """Return the answer in words, each configuration, and what it was compared with."""
    return Group(
        Text("\n".join(result.words), style="bold"),
        Text(),
        _contenders(result),
        Text(),
        _comparisons(result),
        Text(),
        Text(
            "intervals: 95 %, of seeds and test jets together; spread: standard deviation over"
            " seeds; P: probability that the chosen one is better",
            style="dim",
        ),
    )


def _contenders(result: ConfirmationResult) -> RenderableType:
    columns = ("seeds", "search\nshowed", "validation", "test\n95 % interval", "spread")
    table = plain_table("", *columns, "in batches\n95 % interval", left=("",))
    for contender in result.contenders:
        name = contender.trial + (", published" if contender.is_published else "")
        once, batched = (contender.test[protocol] for protocol in PROTOCOLS)
        table.add_row(
            "published recipe" if name == "published, published" else name,
            str(len(contender.seeds)),
            cells.percent(contender.search_score),
            cells.percent(contender.validation),
            _estimate(once),
            cells.NOTHING if once.spread is None else f"{100 * once.spread:.1f}",
            _estimate(batched),
            style="bold green" if contender.trial == result.chosen else "",
        )
    return table


def _estimate(estimate: Estimate) -> str:
    return f"{cells.percent(estimate.mean)}\n{interval_in_percent(estimate.interval)}"


def _comparisons(result: ConfirmationResult) -> RenderableType:
    columns = ("points", "95 % interval", "P", "in batches")
    table = plain_table(
        f"trial {result.chosen} less", *columns, left=(f"trial {result.chosen} less",)
    )
    batched = {c.to: c for c in result.comparisons if c.protocol == PROTOCOLS[1]}
    for to, second in batched.items():
        first = next(
            (c for c in result.comparisons if c.to == to and c.protocol == PROTOCOLS[0]), None
        )
        low, high = (first or second).difference.interval
        probability = (first or second).difference.probability_above_zero
        table.add_row(
            second.title,
            "" if first is None else f"{100 * first.difference.mean:+.1f}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            f"{100 * probability:.0f} %",
            f"{100 * second.difference.mean:+.1f}",
        )
    return table
