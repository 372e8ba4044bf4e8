"""`ucluster-tune stop`: a running study ends in order."""

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study
from ucluster_tune.report.cells import command
from ucluster_tune.study.budget import may_go_on
from ucluster_tune.study.paths import open_studies
from ucluster_tune.study.status import find_study, read_study
from ucluster_tune.study.stopping import request_stop, stop_now, wait_until_stopped


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune stop quickstart
      ucluster-tune stop quickstart --now
    """,
)
@one_study
@click.option("--now", is_flag=True, help="Do not finish the running epochs: they run again.")
@click.option(
    "--wait",
    "limit_s",
    type=click.FloatRange(min=0),
    default=6 * 3600.0,
    metavar="SECONDS",
    help="Longest wait for the running epochs.  [default: six hours]",
)
def stop(name: str, now: bool, limit_s: float, studies_dir: str | None) -> None:
    """Stop study NAME; `ucluster-tune resume NAME` carries it on.

    Its running trials finish their epoch, write their checkpoint and stop.
    """
    paths = find_study(open_studies(studies_dir), name)
    if now:
        stop_now(paths)
    else:
        request_stop(paths, "after_epoch")
        click.echo(
            "Waiting for the running epochs; Ctrl-C ends the wait, the study stops all the same",
            err=True,
        )
        if not wait_until_stopped(paths, limit_s):
            raise click.ClickException(
                f"study {name} still runs after {limit_s:g} s; it stops after its running epochs,"
                " or at once with --now"
            )
    record = read_study(paths)
    click.echo(
        f"Study {name} {record.state}: {record.n_finished} of {record.n_trials} trials done"
    )
    verb = "resume" if may_go_on(record) else "status"
    click.echo(f"Next: {command(verb, paths, name)}", err=True)
