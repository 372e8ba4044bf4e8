"""What `run` and `train` do first: jets that are not there yet are fetched and converted."""

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ucluster_tune.cli.data.jet_options import progress_bar
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import DataError

if TYPE_CHECKING:
    from ucluster_tune.data.making.preparation import Preparation, Size


def with_prepared_data(study: StudyConfig, yes: bool) -> StudyConfig:
    """Return the study with the parquet data set as its `data.path`.

    Says how large what is missing is, and asks unless `yes`; raises DataError where there is
    nobody to ask.
    """
    from ucluster_tune.data.making.preparation import check_files, plan_preparation, size_of

    preparation = plan_preparation(study.data)
    check_files(preparation)
    if not preparation.is_ready:
        size = size_of(preparation, say=lambda line: click.echo(line, err=True))
        click.echo(f"{study.data.path}: {size.told()}", err=True)
        click.echo(
            f"Once, before the first trial: {preparation.told()}"
            + ("" if size.is_dataset else "; the data set takes about as much room again"),
            err=True,
        )
        if not yes:
            _ask(study.data.path)
        _prepare(preparation, size, study.data.path)
    return study_at(study, preparation)


def study_at(study: StudyConfig, preparation: "Preparation") -> StudyConfig:
    """Return the study that reads the prepared data set."""
    data = study.data.model_copy(update={"path": preparation.data_path})
    return study.model_copy(update={"data": data})


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise DataError(
            f"{name}: jets are to be fetched or converted first; add --yes to agree to that, or"
            " make a data set by hand with `ucluster-tune data convert`"
        )
    click.confirm("Go on?", abort=True, err=True)


def _prepare(preparation: "Preparation", size: "Size", name: str) -> None:
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
        click.echo(f"{name}: {n_jets} of {conversion.n_jets} jets are {where} now", err=True)
        if preparation.record is not None:
            click.echo(f"{preparation.files} is not needed any more and can be deleted", err=True)
