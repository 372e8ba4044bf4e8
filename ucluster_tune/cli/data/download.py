"""`ucluster-tune data download`: the files of a Zenodo record."""

import shlex
from pathlib import Path

import click

from ucluster_tune.cli.data.jet_options import LocalPath, progress_bar


@click.command(
    epilog="""\b
    Example:
      ucluster-tune data download 10.5281/zenodo.3602254 --to hls4ml
    """
)
@click.argument("record")
@click.option(
    "--to",
    "folder",
    type=LocalPath(
        "fetch the files here, and copy them with the bucket's own tool", file_okay=False
    ),
    required=True,
    metavar="DIR",
    help="Folder for the files.",
)
@click.option(
    "--only",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Fetch only files whose name matches, such as '*train*'; may be given several times.",
)
@click.option(
    "--at-a-time",
    type=click.IntRange(1, 16),
    metavar="N",
    default=4,
    show_default=True,
    help="Files that are fetched at the same time.",
)
def download(record: str, folder: Path, patterns: tuple[str, ...], at_a_time: int) -> None:
    """Download the files of a Zenodo record, with their checksums.

    RECORD is its number, its DOI or its address. After a break the same command goes on where it
    stopped; files that are there are checked and kept.
    """
    from ucluster_tune.data.making.zenodo import (
        chosen_files,
        download_files,
        read_record,
        record_number,
    )
    from ucluster_tune.report.cells import program
    from ucluster_tune.storage.download import in_words

    number = record_number(record)
    found = read_record(number, say=lambda line: click.echo(line, err=True))
    files = chosen_files(found, patterns)
    n_bytes = sum(file.n_bytes for file in files)
    click.echo(
        f"{found.title or 'Zenodo record'} ({found.doi or found.number}):"
        f" {len(files)} of {len(found.files)} files, {in_words(n_bytes)}",
        err=True,
    )
    with progress_bar(in_bytes=True) as progress:
        tasks = {file.name: progress.add_task(file.name, total=file.n_bytes) for file in files}
        download_files(
            files,
            folder,
            at_a_time=at_a_time,
            on_bytes=lambda name, n_new: progress.advance(tasks[name], n_new),
            say=lambda line: progress.console.print(line, markup=False, highlight=False),
        )
    for file in files:
        click.echo(f"{folder / file.name}: {file.n_bytes} bytes, md5 {file.md5}, as in the record")
    click.echo(f"Next: {program()} data convert {shlex.quote(str(folder))} --out data/NAME")
