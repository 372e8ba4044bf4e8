"""`ucluster-tune logs`: what a study's driver, or a trial's workers, wrote."""

import sys

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.study.logs import log_text
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune logs quickstart
      ucluster-tune logs quickstart --trial 0003 --follow
    """,
)
@one_study
@click.option("--trial", metavar="ID", help="What this trial's workers wrote.")
@click.option(
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    default=50,
    show_default=True,
    help="So many, the last; of each machine.",
)
@click.option("--follow", is_flag=True, help="Show what is added while the study runs.")
def logs(name: str, trial: str | None, lines: int, follow: bool, studies_dir: str | None) -> None:
    """Show the log of study NAME, or of a trial.

    That of the study is of its driver, Ray and Tune, that of a trial of all its workers: one
    machine after the other where the study lies in a bucket.
    """
    paths = find_study(open_studies(studies_dir), name)
    for text in log_text(paths, trial, lines, follow=follow):
        sys.stdout.write(text)
        sys.stdout.flush()
