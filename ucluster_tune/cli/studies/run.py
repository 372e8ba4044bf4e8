"""`ucluster-tune run`: a whole search, shown while it runs."""

import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.on_cluster import Job, SearchCommand
from ucluster_tune.cli.studies.prepared_data import prepared_data_path
from ucluster_tune.cli.studies.searching import drive, show_search
from ucluster_tune.cli.studies.study_options import (
    report_option,
    search_space_file,
    set_option,
    studies_dir_option,
    until_option,
    yes_option,
)
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.names import zenodo_number
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.config.yaml_text import quoted
from ucluster_tune.errors import DataError

if TYPE_CHECKING:
    from ucluster_tune.cluster.place import Place
    from ucluster_tune.data.making.preparation import Preparation
    from ucluster_tune.search.room import SearchNodes, SearchSetting
    from ucluster_tune.study.record import StudyRecord

_JOB_FILE = "search_space.yaml"


class _Run(SearchCommand):
    def job(self, ctx: click.Context) -> Job:
        """Return the checked configuration with all that was changed in it, and how to run it."""
        params = ctx.params
        config = _configured(params["file"], params["name"], params["trials"], params["overrides"])
        assert config.name is not None
        _agree_to_fetch(config, params["yes"])
        words = ["run", _JOB_FILE, "--yes"]
        for option in ("warm_start", "studies_dir"):
            if params[option] is not None:
                words += [f"--{option.replace('_', '-')}", params[option]]
        if params["has_report"]:
            words.append("--report")
        if params["until"] is not None:
            words += ["--until", params["until"].isoformat()]
        return Job(words, {_JOB_FILE: dump_config(config)}, config.name)


@click.command(
    cls=_Run,
    epilog="""\b
    Example:
      ucluster-tune run search_spaces/quickstart.yaml
      ucluster-tune run search_spaces/quickstart.yaml --name wider --trials 20
    """,
)
@search_space_file
@click.option("--name", metavar="NAME", help="Name of the study.  [default: as in FILE]")
@click.option("--trials", type=int, metavar="N", help="Number of trials.  [default: as in FILE]")
@set_option
@click.option(
    "--warm-start", metavar="STUDY", help="Learn from another study's trials from the start."
)
@until_option
@report_option
@yes_option
@studies_dir_option
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    name: str | None,
    trials: int | None,
    overrides: tuple[str, ...],
    warm_start: str | None,
    until: datetime | None,
    has_report: bool,
    yes: bool,
    studies_dir: str | None,
    place: "Place",
) -> None:
    """Run the search that FILE describes.

    Shows a table of the trials while they run. Ctrl-C finishes the running epochs and ends in
    order; a second one ends at once. `ucluster-tune resume` carries it on.
    """
    config = _configured(file, name, trials, overrides)
    from ucluster_tune.study.opening import new_study
    from ucluster_tune.study.paths import open_studies

    study = new_study(open_studies(studies_dir), config, warm_start)

    def search(setting: "SearchSetting") -> "StudyRecord":
        return drive(study, setting, partial(_path_of_jets, place=place, yes=yes))

    ctx.exit(show_search(search, studies_dir, place, until=until, has_report=has_report))


def _path_of_jets(config: StudyConfig, nodes: "SearchNodes", place: "Place", yes: bool) -> str:
    """Return where the jets are once they are there: made for hours, after all that can be asked.

    Raises:
        StudyError: the database of the study's dashboards is not there.
        MachineError: the nodes are not fit for the search.
    """
    from ucluster_tune.data.making.preparation import plan_preparation
    from ucluster_tune.tracking.dashboards.stores import refuse_absent_database

    refuse_absent_database(config.tracking)
    preparation = plan_preparation(config.data)
    if not preparation.is_ready:
        nodes.check(config, made_in=preparation.made_in)
    for warning in warnings_for(config):
        click.secho(f"Warning: {warning}", fg="yellow", err=True)
    _warn_of_own_disk(preparation, place)
    return prepared_data_path(preparation, yes)


def _warn_of_own_disk(preparation: "Preparation", place: "Place") -> None:
    """Tell before the work, not after it, that other nodes may not see what comes of it."""
    from ucluster_tune.data.making.preparation import DATASETS_VARIABLE, datasets_place

    if place.address is None or preparation.is_ready or datasets_place() is not None:
        return
    click.secho(
        f"Warning: {preparation.data_path} is a folder of this machine; where other nodes do"
        f" not see it, name one that they see, or a bucket, with {DATASETS_VARIABLE}",
        fg="yellow",
        err=True,
    )


def _agree_to_fetch(config: StudyConfig, yes: bool) -> None:
    """Ask before a job, which nobody can answer, fetches gigabytes."""
    if yes or zenodo_number(config.data.path) is None:
        return
    if not sys.stdin.isatty():
        raise DataError(
            f"{config.data.path} is to be fetched and converted on the cluster, if it was not yet:"
            " add --yes to agree to that"
        )
    click.confirm(
        f"{config.data.path} is fetched and converted on the cluster, if it was not yet. Go on?",
        abort=True,
        err=True,
    )


def _configured(
    file: Path, name: str | None, trials: int | None, overrides: tuple[str, ...]
) -> StudyConfig:
    options = [] if name is None else [f"name={quoted(name)}"]  # text, even `2024`
    options += [] if trials is None else [f"budget.n_trials={trials}"]
    return load_study_config(file, [*overrides, *options])
