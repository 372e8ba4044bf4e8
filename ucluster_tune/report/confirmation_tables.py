"""What a confirmation of finalists found, as tables."""

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_words import confirmation_lines
from ucluster_tune.report.yardstick_tables import interval_in_percent
from ucluster_tune.study.finalists import PROTOCOLS, Comparison, ConfirmationResult, Estimate
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord


def confirmation_summary(record: StudyRecord, paths: StudyPaths | None = None) -> RenderableType:
    """Return what the newest confirmation found, or how far it is; print it with crop=False.

    Args:
        record: of the study.
        paths: the study's files, where its report may lie.
    """
    confirmed = record.confirmed
    if record.open_confirmation is not None or confirmed is None or confirmed.result is None:
        return Group(*confirmation_lines(record))
    view = confirmation_view(confirmed.result, record.objective.metric)
    if paths is None:
        return view
    export = f"{cells.command('export', paths, record.name)} --confirmed --to DIR"
    lines = [Text(), cells.unfolded(f"Its network: {export}"), *cells.report_lines(paths)]
    return Group(view, *lines)


def confirmation_view(
    result: ConfirmationResult, metric: str = "clustering_accuracy"
) -> RenderableType:
    """Return the answer in words, each configuration, and what it was compared with.

    Args:
        result: of a confirmation.
        metric: the objective of its search, by which epochs and the chosen one were chosen.
    """
    return Group(
        Text("\n".join(result.words), style="bold"),
        Text(),
        _contenders(result, metric),
        Text(),
        _comparisons(result),
        Text(),
        Text(
            "intervals: 95 %, of seeds and test jets together; spread: standard deviation over"
            " seeds; P: probability that the chosen one is better",
            style="dim",
        ),
    )


def _contenders(result: ConfirmationResult, metric: str) -> RenderableType:
    columns = ("seeds", "search\nshowed", "validation", "test jets\n95 %", "spread")
    table = cells.plain_table("", *columns, "in batches\n95 %", left=("",))
    for contender in result.contenders:
        once, batched = (contender.test[protocol] for protocol in PROTOCOLS)
        table.add_row(
            contender.title,
            str(len(contender.seeds)),
            cells.metric(metric, contender.search_score),
            cells.metric(metric, contender.validation),
            _estimate(once),
            cells.NOTHING if once.spread is None else f"{100 * once.spread:.1f}",
            _estimate(batched),
            style="bold green" if contender.trial == result.chosen else "",
        )
    return table


def _estimate(estimate: Estimate) -> str:
    return f"{cells.percent(estimate.mean)}\n{interval_in_percent(estimate.interval)}"


def _comparisons(result: ConfirmationResult) -> RenderableType:
    """Return a row for each other thing: matched once where that is known, and in batches."""
    head = f"trial {result.chosen} less"
    table = cells.plain_table(head, "points", "95 % interval", "P", "in batches", left=(head,))
    found = {(c.to, c.protocol): c for c in result.comparisons}
    for to in dict.fromkeys(c.to for c in result.comparisons):
        once, batched = (found.get((to, protocol)) for protocol in PROTOCOLS)
        told = once or batched
        assert told is not None
        low, high = told.difference.interval
        table.add_row(
            told.title,
            _points(once),
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            f"{100 * told.difference.probability_above_zero:.0f} %",
            _points(batched),
        )
    return table


def _points(comparison: Comparison | None) -> str:
    return "" if comparison is None else f"{100 * comparison.difference.mean:+.1f}"
