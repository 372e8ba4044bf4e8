"""`ucluster-tune cluster`: the machines that a search runs on."""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.studies.on_cluster import Job, SearchCommand, all_typed_words
from ucluster_tune.cli.studies.study_options import (
    SearchSpaceFile,
    set_option,
    studies_dir_option,
)
from ucluster_tune.cluster.place import this_machine
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.study import StudyConfig, TrackingConfig

if TYPE_CHECKING:
    from ucluster_tune.cluster.fitness.checks import CheckRequest
    from ucluster_tune.cluster.fitness.comparisons import CheckRow
    from ucluster_tune.cluster.place import Place

Say = Callable[[str], None]
_JOB_FILE = "search_space.yaml"


@click.group(
    epilog="""\b
    Example:
      ucluster-tune cluster check search_spaces/jets.yaml --cluster ray_cluster.yaml
    """
)
def cluster() -> None:
    """Look after the machines that a search runs on."""


class _Check(SearchCommand):
    def job(self, ctx: click.Context) -> Job:
        """Return the configuration with all that was changed in it, and how to check it."""
        params = ctx.params
        words, files = ["cluster", "check"], {}
        if params["file"] is not None:
            config = load_study_config(params["file"], params["overrides"])
            words, files = [*words, _JOB_FILE], {_JOB_FILE: dump_config(config)}
        if params["studies_dir"] is not None:
            words += ["--studies-dir", params["studies_dir"]]
        words += ["--next", next_command(ctx)]
        return Job([*words, *["--json"] * params["as_json"]], files, "check", is_study=False)

    def tell_not_up(self, error: Exception) -> None:
        """Say why the cluster is not checked."""
        click.echo(f"{error}\nSo it is not that cluster which is checked.", err=True)


@cluster.command(
    cls=_Check,
    epilog="""\b
    Example:
      ucluster-tune cluster check
      ucluster-tune cluster check search_spaces/jets.yaml --cluster ray_cluster.yaml
    """,
)
@click.argument("file", type=SearchSpaceFile(), required=False)
@set_option
@studies_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print all rows as JSON.")
@click.option("--next", "next_typed", hidden=True, help="What to type where this was sent from.")
@click.pass_context
def check(
    ctx: click.Context,
    file: Path | None,
    overrides: tuple[str, ...],
    studies_dir: str | None,
    as_json: bool,
    next_typed: str | None,
    place: "Place",
) -> None:
    """Check that the machines of a Ray cluster are fit for a search.

    With FILE, a search-space file, also its data set, the studies folder, MLflow and whether a
    trial fits; without it, the studies folder only where an option or variable names that. One
    row a check and node, each fault with what to do about it; exits with 1 where
    there is one. Takes about half a minute, since every node loads TensorFlow and Horovod.
    """
    config = load_study_config(file, overrides) if file is not None else None

    def say(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    with _ray(place) as told:
        say(f"Checking {told} ({place.why})")
        rows, nodes = _all_rows(config, studies_dir, say)
    n_faults = sum(not row.ok for row in rows)
    if as_json:
        checks = [row.document() for row in rows]
        click.echo(json.dumps({"ok": not n_faults, "nodes": nodes, "checks": checks}, indent=2))
    else:
        _show(rows, next_typed or next_command(ctx))
    ctx.exit(1 if n_faults else 0)


@contextmanager
def _ray(place: "Place") -> Iterator[str]:
    """Give the Ray to be checked, in words."""
    from ucluster_tune.cluster.connection import joined_ray
    from ucluster_tune.cluster.embedded import embedded_ray

    if place.address is None:
        machine = this_machine()
        with embedded_ray(machine.n_cpus, machine.n_gpus):
            yield "this machine, with a Ray of its own"
        return
    with joined_ray(place.address) as joined:
        yield f"the Ray at {place.address}: {joined.in_words()}"


def _all_rows(
    config: StudyConfig | None, studies_dir: str | None, say: Say
) -> tuple[list["CheckRow"], list[str]]:
    from ucluster_tune.cluster.fitness.checks import CheckRequest, check_cluster
    from ucluster_tune.study.paths import STUDIES_VARIABLE, open_studies
    from ucluster_tune.tracking.mlflow.check import check_tracking

    is_known = config is not None or studies_dir or os.environ.get(STUDIES_VARIABLE)
    studies = open_studies(studies_dir) if is_known else None
    request = CheckRequest(studies=studies.place if studies else None)
    if config is not None and studies is not None:
        request = _request(config, studies.place, say)
    rows, nodes = check_cluster(request)
    if studies is not None:
        rows += check_tracking(config.tracking if config else TrackingConfig(), studies.root)
    if config is not None:
        rows.append(_room(config))
    return rows, nodes


def _request(config: StudyConfig, studies: str, say: Say) -> "CheckRequest":
    """Return what the study needs; without its data set where `run` has yet to make that."""
    from dataclasses import replace

    from ucluster_tune.cluster.fitness.checks import CheckRequest
    from ucluster_tune.data.making.preparation import plan_preparation

    preparation = plan_preparation(config.data)
    if preparation.is_ready:
        return CheckRequest.of(config.reading(preparation.data_path), studies)
    say(f"{config.data.path}: not checked, since `run` makes it first: {preparation.in_words()}")
    return replace(CheckRequest.of(config, studies), data=None)


def _room(config: StudyConfig) -> "CheckRow":
    """Return the row that tells how many trials fit."""
    from ucluster_tune.cluster.capacity import capacity_watch
    from ucluster_tune.cluster.fitness.comparisons import CheckRow
    from ucluster_tune.config.plan import fit_study, wait_for_nodes
    from ucluster_tune.errors import MachineError

    nodes = capacity_watch()()
    try:
        n_trials = fit_study(config, nodes).n_at_a_time
    except MachineError as error:
        found, _, remedy = str(error).partition(": ")
        return CheckRow("all", "resources", False, found, remedy)
    found = f"{n_trials} trial{'s' * (n_trials > 1)} at a time on {nodes.in_words()}"
    return CheckRow("all", "resources", True, wait_for_nodes(config, nodes) or found)


def _show(rows: "Sequence[CheckRow]", next_typed: str) -> None:
    from rich.console import Console

    from ucluster_tune.report.cells import plural
    from ucluster_tune.report.cluster_tables import checks_table

    Console(highlight=False).print(checks_table(rows), crop=False)
    n_faults = sum(not row.ok for row in rows)
    if n_faults:
        click.echo(f"\n{plural(n_faults, 'fault')}. Mend them, then type this again")
    else:
        click.echo(f"\nNo faults. Next: {next_typed}")


def next_command(ctx: click.Context) -> str:
    """Return the command to type after a check without faults: the search on the same cluster."""
    from ucluster_tune.report.cells import program

    words = [word for word in all_typed_words(ctx) if word != "--json"]
    if ctx.params["file"] is None:
        return shlex.join([program(), "cluster", "check", "FILE", *words])
    return shlex.join([program(), "run", *words])
