"""`ucluster-tune dashboard`: Optuna's dashboard on a study."""

import webbrowser
from contextlib import suppress

import click

from ucluster_tune.cli.studies.study_options import one_study_if_any
from ucluster_tune.cli.studies.ui import has_display
from ucluster_tune.study.opening import study_config_of
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study, read_study


@click.command(
    epilog="""\b
    Example:
      ucluster-tune dashboard quickstart
      ucluster-tune dashboard quickstart --port 8080 --no-browser
    """
)
@one_study_if_any
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port.  [default: the first free one from 5000]",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def dashboard(
    name: str | None, studies_dir: str | None, port: int | None, no_browser: bool
) -> None:
    """Open Optuna's dashboard on study NAME.

    Without NAME it is the study of which something was recorded last. What is changed there
    changes neither the study's record nor its search. It needs optuna-dashboard, an extra.
    Ctrl-C ends it.
    """
    paths = find_study(open_studies(studies_dir), name)
    record = read_study(paths)
    from ucluster_tune.tracking.dashboards.server import dashboard_server
    from ucluster_tune.tracking.dashboards.stores import dashboard_store  # loads Optuna
    from ucluster_tune.tracking.mlflow.server import choose_port

    tracking = study_config_of(record, paths).tracking
    store = dashboard_store(tracking, paths, record.study_id)
    host = "127.0.0.1"
    with dashboard_server(store, host, choose_port(host, port)) as (server, address):
        click.echo(f"Study {record.name} in Optuna's dashboard:\n  {address}")
        click.echo("Ctrl-C ends it.", err=True)
        if not no_browser and has_display():
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
