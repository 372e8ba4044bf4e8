"""`ucluster-tune sync`: a study sent to an MLflow server that was out of reach while it ran."""

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.report.cells import plural
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune sync quickstart --to http://mlflow.example.org:5000
    """,
)
@one_study
@click.option(
    "--to",
    "uri",
    metavar="URI",
    required=True,
    help="MLflow's server, database or SQLite file to send it to.",
)
def sync(name: str, uri: str, studies_dir: str | None) -> None:
    """Send study NAME to another MLflow server, where it was run without one.

    Its run, those of its trials with all epochs, pictures and the report. What the server has
    already is not sent again, whatever was interrupted and however often this is called; the
    study goes on in the store that it began with.
    """
    from ucluster_tune.report.page.writing import words_of
    from ucluster_tune.tracking.mlflow.sync import send_study

    folder = open_studies(studies_dir)
    paths = find_study(folder, name)
    sent = send_study(paths, folder, uri, lambda record: words_of(record, paths))
    trials = sent.record.trials.values()
    n_epochs = plural(sum(trial.epochs for trial in trials), "epoch")
    for line in sent.changes:
        click.echo(f"mended: {line}")
    click.echo(
        f"{uri_without_password(uri)} has study {name}, {sent.record.state}:"
        f" {plural(len(trials), 'trial')} with {n_epochs}, run {sent.record.run_id}"
    )
