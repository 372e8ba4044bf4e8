"""`ucluster-tune select`: trials ranked, and the epoch of each chosen, without labels."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.errors import StudyError
from ucluster_tune.study.paths import StudyPaths, open_studies
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import find_study, read_study

if TYPE_CHECKING:
    from ucluster_tune.report.label_free import LabelFreeRanking, RankedTrial

# Not imported from ucluster_tune.report.label_free, which would load NumPy for a mere --help.
CRITERIA = ("cross_space", "stability", "silhouette", "clustering_loss")


@click.command(
    epilog="""\b
    Example:
      ucluster-tune select quickstart --without-labels
      ucluster-tune select quickstart --without-labels --by stability --json
    """
)
@one_study
@click.option(
    "--without-labels",
    "is_without_labels",
    is_flag=True,
    help="Look at no label. To be given: with labels, `status` ranks the trials.",
)
@click.option(
    "--by",
    type=click.Choice(CRITERIA),
    default=CRITERIA[0],
    show_default=True,
    help="The criterion that orders the trials.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as JSON.")
def select(
    name: str, studies_dir: str | None, is_without_labels: bool, by: str, as_json: bool
) -> None:
    """Rank the trials of study NAME without labels, and choose the epoch of each.

    Four criteria are told. cross_space, which orders them: how high the trial's clusters rank in
    the embeddings of the other trials, from 0 to 1. In its own embedding: stability (of k-means
    on two halves of the jets), silhouette and the k-means loss, which flatter the network that
    they are computed in. Where the jets have labels, the accuracy stands beside them, and is not
    looked at.
    """
    if not is_without_labels:
        raise click.UsageError(
            "with labels `status` ranks the trials, by the study's objective; add --without-labels"
            " to rank them by what needs none"
        )
    from ucluster_tune.report.label_free import rank_without_labels

    paths = find_study(open_studies(studies_dir), name)
    record = read_study(paths)
    ranking = rank_without_labels(record, paths, by)
    if not ranking.trials:
        causes = "; ".join(f"trial {t}: {why}" for t, why in ranking.left_out.items())
        raise StudyError(
            f"study {record.name} has no trial that can be ranked: {causes or 'it has none yet'};"
            " a trial can be once it has finished an epoch of its clustering phase"
        )
    if as_json:
        click.echo(json.dumps(_document(ranking, record, paths), indent=2, allow_nan=False))
        return
    from rich.console import Console

    from ucluster_tune.report.cells import program, shown_path
    from ucluster_tune.report.label_free_table import ranking_view

    Console(highlight=False).print(ranking_view(ranking, record), crop=False)
    best = _checkpoint(ranking.trials[0], record, paths)
    place = best if "://" in best else shown_path(Path(best))
    click.echo(f"Next: {program()} export {shlex.quote(place)} --to best", err=True)


def _checkpoint(ranked: "RankedTrial", record: StudyRecord, paths: StudyPaths) -> str:
    trial = record.trials[ranked.id]
    files = paths.trial(trial.id, trial.shown.plan.id)
    return files.checkpoint_place(ranked.epoch.epoch)


def _document(
    ranking: "LabelFreeRanking", record: StudyRecord, paths: StudyPaths
) -> dict[str, Any]:
    return {
        "name": record.name,
        "by": ranking.by,
        "note": ranking.note,
        "n_jets": ranking.n_jets,
        "n_spaces": ranking.n_spaces,
        "trials": [
            {
                "id": trial.id,
                "epoch": trial.epoch.epoch,
                **{criterion: trial.value(criterion) for criterion in CRITERIA},
                "clustering_accuracy": trial.epoch.value("clustering_accuracy"),
                "checkpoint": _checkpoint(trial, record, paths),
            }
            for trial in ranking.trials
        ],
        "left_out": ranking.left_out,
    }
