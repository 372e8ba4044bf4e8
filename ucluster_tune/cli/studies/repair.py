"""`ucluster-tune repair`: what can be rebuilt from a study's record, rebuilt."""

import json

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.report.cells import command
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune repair quickstart
      ucluster-tune repair quickstart --json
    """,
)
@one_study
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def repair(ctx: click.Context, name: str, as_json: bool, studies_dir: str | None) -> None:
    """Rebuild all from the record of study NAME: MLflow's runs, Optuna's copy, its files.

    Prints what was found and changed. The exit code is 1 where something is still wrong.
    """
    from ucluster_tune.report.page.writing import words_of
    from ucluster_tune.report.pictures import draw_trial_pictures
    from ucluster_tune.search.repair import repair_study

    folder = open_studies(studies_dir)
    paths = find_study(folder, name)
    found = repair_study(paths, folder, draw_trial_pictures, words_of)
    if as_json:
        click.echo(json.dumps({"changed": found.changed, "left": found.left}, indent=2))
    else:
        for line in found.changed:
            click.echo(f"mended: {line}")
        for line in found.left:
            click.echo(f"left: {line}")
        if not found.changed and not found.left:
            click.echo(f"Study {name}: all agrees with its record")
    click.echo(f"Next: {command('status', paths, name)}", err=True)
    ctx.exit(1 if found.left else 0)
