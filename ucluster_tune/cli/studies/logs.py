"""`ucluster-tune logs`: what happened in a study, or what its driver or its workers wrote."""

import sys
from collections.abc import Iterator

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study_if_any
from ucluster_tune.report.event_lines import ToldEvents
from ucluster_tune.study.logs import events_of, log_text
from ucluster_tune.study.paths import StudyPaths, open_studies
from ucluster_tune.study.status import find_study, find_trial


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune logs
      ucluster-tune logs quickstart --lines 200
      ucluster-tune logs quickstart --trial 3 --follow
      ucluster-tune logs quickstart --json --lines 1000000
    """,
)
@one_study_if_any
@click.option("--trial", metavar="ID", help="What this trial's workers wrote.")
@click.option("--driver", "of_driver", is_flag=True, help="What the driver, Ray and Tune wrote.")
@click.option("--json", "as_json", is_flag=True, help="The events of the record, one a line.")
@click.option(
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    default=50,
    show_default=True,
    help="So many, the last; of each machine.",
)
@click.option("--follow", is_flag=True, help="Show what is added while the study runs.")
def logs(
    name: str | None,
    trial: str | None,
    of_driver: bool,
    as_json: bool,
    lines: int,
    follow: bool,
    studies_dir: str | None,
) -> None:
    """Show the log of study NAME, or of a trial.

    It is a line for each epoch, and for each trial that begins or ends, as `run` writes them where
    it has no terminal; without NAME, of the study of which something was recorded last. What
    workers and drivers wrote is that of one machine after the other where the study lies in a
    bucket.
    """
    if of_driver and (trial is not None or as_json):
        raise click.UsageError("give either --driver, or --trial ID and --json")
    paths = find_study(open_studies(studies_dir), name)
    if name is None:
        click.echo(f"Study {paths.name}", err=True)
    if as_json or (trial is None and not of_driver):
        texts = _event_lines(paths, trial, lines, as_json=as_json, follow=follow)
    else:
        texts = log_text(paths, trial, lines, follow=follow)
    for text in texts:
        sys.stdout.write(text)
        sys.stdout.flush()


def _event_lines(
    paths: StudyPaths, trial: str | None, n_lines: int, *, as_json: bool, follow: bool
) -> Iterator[str]:
    """Yield the last lines about events, or the last events, and those that are added."""
    trial = None if trial is None else find_trial(paths, trial)
    told, is_first = ToldEvents(), True
    for events in events_of(paths, follow=follow):
        if as_json:
            chosen = [e for e in events if trial in (None, getattr(e, "trial", None))]
            lines = [event.line() for event in chosen]
        else:
            lines = list(told.lines(events, paths.name))
        yield from (f"{line}\n" for line in lines[max(0, len(lines) - n_lines) * is_first :])
        is_first = False
