"""`ucluster-tune run`: a whole search, shown while it runs."""

import json
from pathlib import Path

import click

from ucluster_tune.cli.check import this_machine
from ucluster_tune.cli.prepared_data import with_prepared_data, yes_option
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.plan import concurrent_trials
from ucluster_tune.config.study_rules import warnings_for

_EXIT_CODES = {"complete": 0, "interrupted": 130}


@click.command(
    epilog="""\b
    Example:
      ucluster-tune run search_spaces/quickstart.yaml
      ucluster-tune run search_spaces/quickstart.yaml --name wider --trials 20
    """
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Name of the study.  [default: as in FILE]")
@click.option("--trials", type=int, metavar="N", help="Number of trials.  [default: as in FILE]")
@click.option(
    "--set",
    "overrides",
    metavar="PATH=VALUE",
    multiple=True,
    help="Change a value of the file; may be given several times.",
)
@yes_option
@click.option("--studies-dir", metavar="DIR", help="Folder of the studies.  [default: ./studies]")
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    name: str | None,
    trials: int | None,
    overrides: tuple[str, ...],
    yes: bool,
    studies_dir: str | None,
) -> None:
    """Run the search that FILE describes.

    Shows a table of the trials while they run. Ctrl-C finishes the running epochs and ends in
    order; a second one ends at once.
    """
    options = [] if name is None else [f"name={json.dumps(name)}"]  # text, even `2024`
    options += [] if trials is None else [f"budget.n_trials={trials}"]
    config = load_study_config(file, [*overrides, *options])
    for warning in warnings_for(config):
        click.secho(f"Warning: {warning}", fg="yellow", err=True)
    concurrent_trials(config, this_machine())  # refused before gigabytes are fetched for it
    config = with_prepared_data(config, yes)

    from ucluster_tune.search.paths import StudiesFolder, studies_folder
    from ucluster_tune.search.ray_session import prepare_environment

    prepare_environment()
    from rich.console import Console

    from ucluster_tune.report.live import LiveTable
    from ucluster_tune.report.pictures import draw_trial_pictures
    from ucluster_tune.report.study_tables import final_summary
    from ucluster_tune.search.runner import SearchSetting, run_study

    folder = StudiesFolder(studies_folder(studies_dir))
    table = LiveTable()
    try:
        record = run_study(
            config,
            SearchSetting(
                folder=folder,
                machine=this_machine(),
                observers=[table],
                draw_pictures=draw_trial_pictures,
                say=lambda line: click.echo(line, err=True),
            ),
        )
    finally:
        table.close()
    assert config.name is not None
    Console(highlight=False).print(final_summary(record, config, folder.study(config.name)))
    ctx.exit(_EXIT_CODES.get(record.state, 1))
