"""`ucluster-tune logs`: what a study's driver, or a trial's workers, wrote."""

import sys
import time
from collections import deque
from pathlib import Path

import click

from ucluster_tune.cli.on_cluster import OnCluster
from ucluster_tune.cli.study_options import studies_dir_option, study_name
from ucluster_tune.errors import StudyError
from ucluster_tune.search.lock import is_driven
from ucluster_tune.search.paths import StudyPaths, open_studies
from ucluster_tune.search.status import find_study

_EVERY_S = 1.0
_PIECE = 65_536


@click.command(
    cls=OnCluster,
    epilog="""\b
    Example:
      ucluster-tune logs quickstart
      ucluster-tune logs quickstart --trial 0003 --follow
    """,
)
@study_name
@click.option("--trial", metavar="ID", help="What this trial's workers wrote.")
@click.option(
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    default=50,
    show_default=True,
    help="So many, the last.",
)
@click.option("--follow", is_flag=True, help="Show what is added while the study runs.")
@studies_dir_option
def logs(name: str, trial: str | None, lines: int, follow: bool, studies_dir: str | None) -> None:
    """Show the log of study NAME, or of a trial.

    That of the study is of its driver, Ray and Tune, that of a trial of all its workers.
    """
    paths = find_study(open_studies(studies_dir), name)
    file = paths.log if trial is None else _log_of_trial(paths, trial)
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            sys.stdout.writelines(deque(text, maxlen=lines))
            while follow:
                is_last = not is_driven(paths)  # before what is read: its last words are in it
                while piece := text.read(_PIECE):
                    sys.stdout.write(piece)
                sys.stdout.flush()
                if is_last:
                    return
                time.sleep(_EVERY_S)
    except FileNotFoundError:
        raise StudyError(f"{file}: nothing was written there yet") from None


def _log_of_trial(paths: StudyPaths, trial: str) -> Path:
    """Returns a trial's log; StudyError names the trials where there is none of that id."""
    trials = (
        sorted(folder.name for folder in paths.trials.iterdir()) if paths.trials.is_dir() else []
    )
    if trial not in trials:
        raise StudyError(
            f"study {paths.name} has no trial {trial!r};"
            f" there are {', '.join(trials) or 'none yet'}"
        )
    return paths.trial(trial).workers_log
