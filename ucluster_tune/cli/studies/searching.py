"""What `run`, `resume` and `extend` have in common: a search that is shown while it goes on."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.main import INTERRUPTED
from ucluster_tune.cluster.place import this_machine

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from ucluster_tune.cluster.place import Place
    from ucluster_tune.config.study import StudyConfig
    from ucluster_tune.search.room import SearchNodes, SearchSetting
    from ucluster_tune.study.confirming import ConfirmationRequest
    from ucluster_tune.study.extension import Extension
    from ucluster_tune.study.opening import StudyToDrive
    from ucluster_tune.study.paths import StudyPaths
    from ucluster_tune.study.record import StudyRecord

_EXIT_CODES = {"complete": 0, "interrupted": INTERRUPTED}


def carry_on(
    name: str,
    extension: "Extension | None",
    studies_dir: str | None,
    place: "Place",
    until: "datetime | None" = None,
    *,
    has_report: bool = False,
) -> int:
    """Carry a study on, shown as `show_search` does, and return the exit code."""

    def search(setting: "SearchSetting") -> "StudyRecord":
        from ucluster_tune.study.opening import known_study

        with known_study(setting.folder, name, extension) as study:
            return drive(study, setting)

    return show_search(search, studies_dir, place, until=until, has_report=has_report)


def carry_confirmation_on(
    name: str, request: "ConfirmationRequest", studies_dir: str | None, place: "Place"
) -> int:
    """Train a study's finalists again, shown as `show_search` does, and return the exit code."""
    found: list[StudyRecord] = []

    def search(setting: "SearchSetting") -> "StudyRecord":
        from ucluster_tune.study.opening import study_to_confirm

        with study_to_confirm(setting.folder, name, request) as study:
            found.append(drive(study, setting))
        return found[0]

    def summary_of(record: "StudyRecord", paths: "StudyPaths") -> "RenderableType":
        from ucluster_tune.report.confirmation_tables import confirmation_summary

        return confirmation_summary(record, paths)

    show_search(search, studies_dir, place, summary_of)
    return INTERRUPTED if found[0].open_confirmation else 0


def drive(
    study: "StudyToDrive",
    setting: "SearchSetting",
    make_jets: "Callable[[StudyConfig, SearchNodes], str] | None" = None,
) -> "StudyRecord":
    """Fit a study to the nodes at hand, drive it, and return its record.

    Args:
        study: new, or known.
        setting: where it runs and who is told.
        make_jets: returns where the jets are that may have to be made first.
    """
    from ucluster_tune.search.room import SearchNodes

    with SearchNodes(setting) as nodes:
        fitted = nodes.fit(study.config)
        if make_jets is not None:
            fitted = fitted.reading(make_jets(fitted.config, nodes))
        from ucluster_tune.search.runner import drive_study  # loads Ray, MLflow and Optuna

        return drive_study(study, fitted, nodes, setting)


def show_search(
    search: "Callable[[SearchSetting], StudyRecord]",
    studies_dir: str | None,
    place: "Place",
    summary_of: "Callable[[StudyRecord, StudyPaths], RenderableType] | None" = None,
    until: "datetime | None" = None,
    *,
    has_report: bool = False,
) -> int:
    """Run a search with its live table, print what it found, and return the exit code.

    Args:
        search: called with where it runs and who is told.
        studies_dir: the option of that name.
        place: the Ray to run on.
        until: when the machines are taken away; None where Slurm may tell that.
        summary_of: makes what is printed at its end, in place of the search's own summary.
        has_report: whether its report is written again and again while it runs.
    """
    from ucluster_tune.cluster.embedded import prepare_environment
    from ucluster_tune.study.paths import open_studies

    prepare_environment(is_embedded=place.address is None)
    from rich.console import Console

    from ucluster_tune.report.live import LiveTable
    from ucluster_tune.report.notice import Notice
    from ucluster_tune.report.pictures import draw_trial_pictures
    from ucluster_tune.report.refreshing import ReportBeside, write_at_end
    from ucluster_tune.report.study_tables import final_summary
    from ucluster_tune.search.allocation import allocation_of
    from ucluster_tune.search.room import SearchSetting

    folder = open_studies(studies_dir)
    table = LiveTable()
    also = [ReportBeside(folder, table.say)] if has_report else []
    try:
        record = search(
            SearchSetting(
                folder=folder,
                place=place,
                machine=this_machine(),
                observers=[table, Notice(table.say), *also],
                draw_pictures=draw_trial_pictures,
                write_report=write_at_end,
                say=table.say,
                allocation=allocation_of(until),
            )
        )
    finally:
        table.close()
    paths = folder.study(record.name)
    summary = (summary_of or final_summary)(record, paths)
    console = Console(highlight=False, file=sys.stdout)
    with console.capture() as page:
        console.print(summary, crop=False)
    with suppress(BrokenPipeError):  # nobody reads any more, and `status` shows it again
        click.echo(page.get(), nl=False)
    return _EXIT_CODES.get(record.state, 1)
