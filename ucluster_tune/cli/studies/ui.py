"""`ucluster-tune ui`: MLflow's web interface on the studies' runs."""

import json
import os
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ucluster_tune.cli.studies.on_cluster import OnCluster
from ucluster_tune.cli.studies.study_options import one_study_if_any
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.errors import StudyError
from ucluster_tune.study.bucket.copy import refresh
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder, StudyPaths, open_studies
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.databases import refuse_unreachable, with_password
from ucluster_tune.tracking.mlflow.pages import (
    compared_runs,
    comparison_page,
    curves_page,
    runs_page,
    view_key,
)
from ucluster_tune.tracking.mlflow.redirects import Redirects
from ucluster_tune.tracking.mlflow.server import (
    LOOPBACK_HOSTS,
    MlflowServer,
    address_without_assistant,
    choose_port,
    wait_until_it_answers,
)
from ucluster_tune.tracking.mlflow.store import (
    artifact_location,
    follow_moved_artifacts,
    is_server,
    sqlite_path,
    uri_of_study,
)

if TYPE_CHECKING:
    from ucluster_tune.cluster.launched.head import Head

_END_TIMEOUT_S = 10.0


class _Ui(OnCluster):
    def run_on(self, head: "Head", ctx: click.Context) -> int:
        """Show the cluster's pages here, through a tunnel that ends with the command."""
        params = ctx.params
        if params["as_json"]:
            return super().run_on(head, ctx)
        port_here = choose_port("127.0.0.1", params["port"])
        where = head.document(_on_head(ctx, "--json"))
        pages, server = Pages(**where["pages"]), where["server"]
        if server is not None and urlsplit(server).scheme == "https":
            click.echo(f"MLflow of cluster {head.cluster} is a server of its own", err=True)
            # Its name is certified.
            _show(pages, pages.by_name(server), open_browser=not params["no_browser"])
            return 0
        click.echo(f"MLflow of cluster {head.cluster}, through a tunnel to {head.host}", err=True)
        with ExitStack() as stack:
            if server is None:
                port = where["free_port"]
                options = ("--no-browser", "--port", str(port))
                stack.enter_context(
                    _ended_with(head.command(_on_head(ctx, *options), terminal=True))
                )
                server = f"http://127.0.0.1:{port}"
                click.echo("Starting MLflow there, which takes some 20 s ...", err=True)
            there = urlsplit(server)
            target = f"{there.hostname}:{there.port or 80}"
            tunnel = stack.enter_context(head.tunnel(target, port_here))
            address = f"http://127.0.0.1:{tunnel.port}"
            wait_until_it_answers(address)
            short = stack.enter_context(pages.redirects(address))
            _show(pages, short.addresses, open_browser=not params["no_browser"])
            _until_ctrl_c(tunnel.wait)
        return 0


def _on_head(ctx: click.Context, *options: str) -> list[str]:
    words = ["ucluster-tune", "ui", *options, "--local"]
    if ctx.params["name"]:
        words.append(ctx.params["name"])
    if ctx.params["studies_dir"]:
        words += ["--studies-dir", ctx.params["studies_dir"]]
    return words


@contextmanager
def _ended_with(command: list[str]) -> Iterator[None]:
    """Let a command on the head run beside the block; the end of its ssh ends it there."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@click.command(
    cls=_Ui,
    epilog="""\b
    Example:
      ucluster-tune ui
      ucluster-tune ui quickstart --port 8080 --no-browser
    """,
)
@one_study_if_any
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port.  [default: the first free one from 5000]",
)
@click.option("--no-browser", is_flag=True, help="Only print the addresses.")
@click.option("--json", "as_json", is_flag=True, help="Only print which pages there are.")
def ui(
    name: str | None,
    studies_dir: str | None,
    host: str,
    port: int | None,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Open the MLflow UI on the studies.

    Shows the accuracy of the trials of study NAME, by default of the one that ran last, against
    the reference. Ctrl-C ends it.
    """
    studies = open_studies(studies_dir)
    record = _read_study(studies, name)
    configured = record.config.get("tracking", {}).get("uri")
    uri = uri_of_study(configured, record.tracking_uri, studies.root)
    pages = Pages.of(record)
    if as_json:
        address = uri_without_password(uri) if is_server(uri) else None
        free_port = choose_port(host, port)
        found = {"server": address, "free_port": free_port, "pages": asdict(pages)}
        click.echo(json.dumps(found))
        return
    if is_server(uri):
        _show(pages, pages.by_name(uri_without_password(uri)), open_browser=not no_browser)
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
    backend = with_password(uri)
    if database is None:
        refuse_unreachable(backend, "MLflow's database")
    artifacts = artifact_location(uri, studies.root)
    assert artifacts is not None  # only servers choose it themselves
    follow_moved_artifacts(uri)
    chosen_port = choose_port(host, port)
    click.echo("Starting MLflow, which takes some 20 s ...", err=True)
    with MlflowServer(backend, artifacts, host, chosen_port) as server:
        server.wait_until_it_answers()
        with pages.redirects(server.address, host) as short:
            _show(pages, short.addresses, open_browser=not no_browser)
            _until_ctrl_c(server.wait)
    click.echo("MLflow ended; the runs are kept.", err=True)


def _read_study(studies: StudiesFolder, name: str | None) -> StudyRecord:
    """Return the named study or the one with the latest event."""
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


@dataclass(frozen=True)
class Pages:
    """MLflow's pages of a study, as paths below a server's address.

    Attributes:
        name: of the study.
        curves: accuracy by epoch; None while no trial has any.
        table: of the trials.
        comparison: parallel coordinates of the trials; None as for `curves`.
    """

    name: str
    curves: str | None
    table: str
    comparison: str | None = None

    @classmethod
    def of(cls, record: StudyRecord) -> "Pages":
        """Return the pages of a study."""
        runs = compared_runs(record)
        own = [record.run_id] if record.run_id else []
        metric = None if record.is_labelled else record.objective.metric
        curves = curves_page("", record.experiment_id, [*runs, *own], metric) if runs else None
        table = runs_page("", record.experiment_id, view_key(record))
        compared = comparison_page("", record.experiment_id, runs) if runs else None
        return cls(record.name, curves, table, compared)

    def by_name(self, address: str) -> dict[str, str]:
        """Return the pages of a server by the names of their short addresses."""
        found = {"curves": self.curves, "table": self.table, "compare": self.comparison}
        base = address.rstrip("/")
        return {name: f"{base}{page}" for name, page in found.items() if page is not None}

    def redirects(self, address: str, host: str = "127.0.0.1") -> Redirects:
        """Return short addresses, at a host of this machine, for the pages of a server."""
        named = address_without_assistant(address)
        return Redirects(self.by_name(address), host, self.by_name(named) if named else None)


def _show(pages: Pages, addresses: Mapping[str, str], open_browser: bool) -> None:
    told = {
        "curves": f"Accuracy by epoch against the reference, study {pages.name}",
        "table": "Table of its trials",
        "compare": "Parallel coordinates of its trials",
    }
    for name, address in addresses.items():
        click.echo(f"{told[name]}:\n  {address}")
    if open_browser and has_display():
        webbrowser.open(next(iter(addresses.values())))


def has_display() -> bool:
    """Return whether a browser has where to open: Python would start one in this terminal."""
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def _until_ctrl_c(wait: Callable[[], None]) -> None:
    """Wait while the pages are there; Ctrl-C is how that is meant to end."""
    click.echo("Ctrl-C ends it.", err=True)
    with suppress(KeyboardInterrupt):
        wait()
