"""`ucluster-tune ui`: MLflow's web interface on the studies' runs."""

import os
import signal
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType

import click

from ucluster_tune.errors import StudyError
from ucluster_tune.search.bucket_copy import refresh
from ucluster_tune.search.journal import read_record
from ucluster_tune.search.paths import StudiesFolder, StudyPaths, open_studies
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.tracking_pages import compared_runs, curves_page, runs_page
from ucluster_tune.search.tracking_server import LOOPBACK_HOSTS, MlflowServer, choose_port
from ucluster_tune.search.tracking_store import (
    artifact_location,
    is_server,
    sqlite_path,
    uri_of_study,
    uri_without_password,
)


@click.command()
@click.argument("name", required=False)
@click.option("--studies-dir", metavar="DIR", help="Folder of the studies.  [default: ./studies]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port.  [default: the first free one from 5000]"
)
@click.option("--no-browser", is_flag=True, help="Only print the addresses.")
def ui(
    name: str | None, studies_dir: str | None, host: str, port: int | None, no_browser: bool
) -> None:
    """Open the MLflow UI on the studies.

    Shows the accuracy of the trials of study NAME, by default of the one that ran last, against
    the reference. Ctrl-C ends it.

    \b
    Example:
      ucluster-tune ui
      ucluster-tune ui quickstart --port 8080 --no-browser
    """
    studies = open_studies(studies_dir)
    record = _read_study(studies, name)
    configured = record.config.get("tracking", {}).get("uri")
    uri = uri_of_study(configured, record.tracking_uri, studies.root)
    if is_server(uri):
        _show(uri_without_password(uri), record, open_browser=not no_browser)
        return
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        hint = ""
        if studies.remote is not None:
            hint = (
                f" on this machine; make it with `ucluster-tune repair {record.name}`, or look at"
                " it where the study runs"
            )
        raise StudyError(f"study {record.name}: its MLflow store {database} is missing{hint}")
    if host not in LOOPBACK_HOSTS:
        click.secho(
            f"Warning: whoever reaches {host} can read, change and delete the runs",
            fg="yellow",
            err=True,
        )
    artifacts = artifact_location(uri, studies.root)
    assert artifacts is not None  # only servers choose it themselves
    chosen_port = choose_port(host, port)
    click.echo("Starting MLflow, which takes some 20 s ...", err=True)
    with _ended_by_signals(), MlflowServer(uri, artifacts, host, chosen_port) as server:
        server.wait_until_it_answers()
        _show(server.address, record, open_browser=not no_browser)
        click.echo("Ctrl-C ends it.", err=True)
        server.wait()
    click.echo("MLflow ended; the runs are kept.", err=True)


def _read_study(studies: StudiesFolder, name: str | None) -> StudyRecord:
    """Returns the named study or the one with the latest event."""
    names = studies.names()
    for known in names if name is None else [n for n in names if n == name]:
        refresh(studies.listed(known))
    begun = [known for known in names if studies.listed(known).record.exists()]
    if not begun:
        raise StudyError(
            f"{studies.place}: no study yet; start one with"
            " `ucluster-tune run search_spaces/quickstart.yaml`, or name another --studies-dir"
        )
    if name is None:
        name = max(begun, key=lambda known: _time_of_last_event(studies.listed(known)))
    path = studies.study(name).record
    if not path.exists():
        raise StudyError(f"{studies.place}: no study {name!r}; there are {', '.join(begun)}")
    return read_record(path)


def _time_of_last_event(paths: StudyPaths) -> float:
    if paths.remote is None:
        return paths.record.stat().st_mtime
    return datetime.fromisoformat(read_record(paths.record).last_event).timestamp()


def _show(address: str, record: StudyRecord, open_browser: bool) -> None:
    table = runs_page(address, record.experiment_id, record.name)
    runs = compared_runs(record)
    first = curves_page(address, record.experiment_id, runs) if runs else table
    if runs:
        click.echo(f"Accuracy by epoch against the reference, study {record.name}:\n  {first}")
    click.echo(f"Table of its trials:\n  {table}")
    if open_browser and _has_display():
        webbrowser.open(first)


def _has_display() -> bool:
    """Without one, Python would start a browser in this terminal."""
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ends the block in order, and without error, at Ctrl-C, SIGTERM and a closed terminal."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
