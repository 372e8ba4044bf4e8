"""What `run` and `train` do first: jets that are not there yet are fetched and converted."""

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.data.jet_options import progress_bar
from ucluster_tune.errors import DataError

if TYPE_CHECKING:
    from ucluster_tune.data.making.preparation import Preparation, Size


def prepared_data_path(preparation: "Preparation", yes: bool) -> str:
    """Return the path of the parquet data set, fetched and converted where it is not there yet.

    Says how large what is missing is, and asks unless `yes`; raises DataError where there is
    nobody to ask.
    """
    from ucluster_tune.data.making.preparation import check_files, size_of

    check_files(preparation)
    if not preparation.is_ready:
        size = size_of(preparation, say=lambda line: click.echo(line, err=True))
        click.echo(f"{preparation.name}: {size.in_words()}", err=True)
        click.echo(
            f"Once, before the first trial: {preparation.in_words()}"
            + ("" if size.is_dataset else "; the data set takes about as much room again"),
            err=True,
        )
        if not yes:
            _ask(preparation.name)
        _prepare(preparation, size)
    return preparation.data_path


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise DataError(
            f"{name}: jets are to be fetched or converted first; add --yes to agree to that, or"
            " make a data set by hand with `ucluster-tune data convert`"
        )
    click.confirm("Go on?", abort=True, err=True)


def _prepare(preparation: "Preparation", size: "Size") -> None:
    from ucluster_tune.data.making.preparation import prepare

    command = [
        *("ucluster-tune", "data", "convert", str(preparation.files)),
        *("--out", str(preparation.dataset), "--classes", ",".join(preparation.classes)),
    ]
    with progress_bar(in_bytes=True) as progress:

        def on_task(task_name: str, n_bytes: int) -> Callable[[int], None]:
            task = progress.add_task(task_name, total=n_bytes)
            return lambda n_new: progress.advance(task, n_new)

        conversion = prepare(
            preparation,
            size,
            command=shlex.join(command),
            on_task=on_task,
            say=lambda line: progress.console.print(line, markup=False, highlight=False),
        )
    if conversion is not None:
        for remark in conversion.remarks:
            click.secho(f"Warning: {remark}", fg="yellow", err=True)
        n_jets = sum(file.n_jets for file in conversion.manifest.files)
        where = "in the cache" if preparation.kept is None else f"at {preparation.kept}"
        click.echo(
            f"{preparation.name}: {n_jets} of {conversion.n_jets} jets are {where} now", err=True
        )
        if preparation.record is not None:
            click.echo(f"{preparation.files} is not needed any more and can be deleted", err=True)
