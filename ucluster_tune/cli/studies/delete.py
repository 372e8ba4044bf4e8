"""`ucluster-tune delete`: a study and all that belongs to it, for good."""

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune delete quickstart
      ucluster-tune delete quickstart --yes
    """,
)
@one_study
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-mlflow", is_flag=True, help="Leave the runs in MLflow.")
def delete(name: str, yes: bool, keep_mlflow: bool, studies_dir: str | None) -> None:
    """Delete study NAME: its files, checkpoints, Optuna's copy and its runs in MLflow."""
    from ucluster_tune.search.deletion import delete_study, what_is_deleted

    folder = open_studies(studies_dir)
    paths = find_study(folder, name)
    for line in what_is_deleted(paths, keep_mlflow=keep_mlflow):
        click.echo(line, err=True)
    if not yes:
        click.confirm(f"Delete study {name} for good?", abort=True, err=True)
    for line in delete_study(paths, folder, keep_mlflow=keep_mlflow):
        click.echo(line)
