"""Trials ranked without labels, and what each criterion was worth, as cells of tables."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.report.label_free import (
    CRITERIA,
    CROSS_SPACE,
    LEAST_TRIALS,
    LabelFreeRanking,
    Predicts,
)
from ucluster_tune.report.trials_table import MAX_ROWS
from ucluster_tune.study.record import StudyRecord

TITLES: Final = {
    CROSS_SPACE: "rank in other embeddings",
    "stability": "stability",
    "silhouette": "silhouette",
    "clustering_loss": "k-means loss",
}
PREDICTS_COLUMNS: Final = (
    *("criterion", "trials", "rank correlation", "95 % interval", "accuracy of its choice"),
)


def ranking_view(ranking: LabelFreeRanking, record: StudyRecord) -> RenderableType:
    """Return a row a trial, the best one first; print it with crop=False."""
    beside = ["accuracy,\nnot looked at"] if record.is_labelled else []
    heads = [TITLES[c].replace(" in ", " in\n").replace("k-means ", "k-means\n") for c in CRITERIA]
    table = cells.plain_table("trial", "epoch", *heads, *beside)
    for trial in ranking.trials[:MAX_ROWS]:
        told = [cells.number(trial.value(criterion)) for criterion in CRITERIA]
        told += [cells.percent(trial.epoch.clustering_accuracy)] if record.is_labelled else []
        table.add_row(trial.id, f"{trial.epoch.epoch}", *told)
    parts: list[RenderableType] = [table]
    n_hidden = len(ranking.trials) - MAX_ROWS
    if n_hidden > 0:
        parts.append(Text(f"and {n_hidden} more; --json tells all", style="dim"))
    how = f"Ordered by {TITLES[ranking.by]}"
    if ranking.n_spaces:
        how += (
            f"; {ranking.n_jets:,} validation jets, held against each other in"
            f" {ranking.n_spaces} embeddings"
        )
    parts.append(Text(f"{how}; epochs chosen without labels", style="dim"))
    if ranking.note:
        parts.append(Text(ranking.note, style="yellow"))
    parts += [Text(f"trial {t} left out: {why}", style="dim") for t, why in _few(ranking)]
    return Group(*parts)


def _few(ranking: LabelFreeRanking) -> list[tuple[str, str]]:
    return list(ranking.left_out.items())[:MAX_ROWS]


def predicts_rows(found: Sequence[Predicts]) -> list[tuple[str, ...]]:
    """Return a row a criterion, with PREDICTS_COLUMNS."""
    return [
        (
            TITLES[one.criterion],
            str(one.n_trials),
            cells.NOTHING if one.correlation is None else f"{one.correlation:+.2f}",
            "" if one.interval is None else f"{one.interval[0]:+.2f} to {one.interval[1]:+.2f}",
            cells.percent(one.accuracy_of_choice),
        )
        for one in found
    ]


def predicts_sentences(found: Sequence[Predicts]) -> list[str]:
    """Return what the correlations say, in words."""
    n_trials = max((one.n_trials for one in found), default=0)
    if n_trials < LEAST_TRIALS:
        return [
            f"How well these criteria predict the accuracy: too few trials to tell; {n_trials}"
            f" can be compared, {LEAST_TRIALS} are the least."
        ]
    sure = [TITLES[one.criterion] for one in found if one.interval and one.interval[0] > 0]
    if sure:
        return [f"Better than chance at ranking these trials by accuracy: {', '.join(sure)}."]
    return ["None of these criteria is shown to rank these trials better than chance would."]
