"""The page's part on choosing without labels: the ranking, and what the criteria are worth."""

from typing import Final

from ucluster_tune.report import cells
from ucluster_tune.report.label_free import (
    CRITERIA,
    LabelFreeRanking,
    agreement_with_labels,
    rank_without_labels,
)
from ucluster_tune.report.label_free_table import (
    PREDICTS_COLUMNS,
    TITLES,
    predicts_rows,
    predicts_sentences,
)
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Section, Table, absent

_TITLE: Final = "Choosing without labels"
_MOST_SHOWN: Final = 40


def criteria_section(contents: StudyContents) -> Section:
    """Return the trials as they rank without labels, and how well that predicts the accuracy."""
    record = contents.record
    ranking = rank_without_labels(record, contents.paths)
    if not ranking.trials:
        return absent(_TITLE, "no trial has finished an epoch of the clustering phase")
    first = ranking.trials[0]
    sentences = [
        f"Without labels trial {first.id} at epoch {first.epoch.epoch} ranks highest of"
        f" {cells.plural(len(ranking.trials), 'trial')}, by {TITLES[ranking.by]}."
        + (f" {ranking.note[:1].upper()}{ranking.note[1:]}." if ranking.note else "")
    ]
    tables = [_ranking_table(ranking, record.is_labelled)]
    notes = [
        "Rank in other embeddings: how high a clustering ranks, from 0 to 1, by how well it"
        " separates the jets in the embeddings of the other trials. The other criteria are"
        " computed in each network's own embedding, which flatters it.",
    ]
    if record.is_labelled:
        found = agreement_with_labels(ranking)
        sentences += predicts_sentences(found)
        tables.insert(0, Table("criteria", PREDICTS_COLUMNS, predicts_rows(found)))
        notes.append(
            "Rank correlation: Spearman's, between a criterion and the clustering accuracy of"
            " validation jets, both at the epoch that was chosen without labels; its interval is"
            " that of resampled trials."
        )
    return Section(_TITLE, sentences, tables, notes=notes)


def _ranking_table(ranking: LabelFreeRanking, is_labelled: bool) -> Table:
    rows = [
        (
            trial.id,
            str(trial.epoch.epoch),
            *(cells.number(trial.value(criterion)) for criterion in CRITERIA),
            *([cells.percent(trial.epoch.clustering_accuracy)] if is_labelled else []),
        )
        for trial in ranking.trials[:_MOST_SHOWN]
    ]
    accuracy = ["accuracy"] if is_labelled else []
    columns = ("trial", "epoch", *(TITLES[criterion] for criterion in CRITERIA), *accuracy)
    return Table("label_free_ranking", columns, rows, strong=[0], is_long=len(rows) > 12)
