"""Peak memory and time of `ucluster-tune data convert` on inputs of 1, 4 and 16 times the size.

    .venv/bin/python -m benchmarks.conversion_memory --jets 20000

Each conversion is a process of its own, whose peak is what the kernel counted. The input is made
up, in the layout of the HLS4ML files, as a folder of files and as a tar.gz of them.
"""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.hls4ml_files import made_up_file, write_tar

SCALES = (1, 4, 16)


@click.command()
@click.option("--jets", default=20_000, show_default=True, help="Jets of the smallest input.")
@click.option("--folder", type=click.Path(path_type=Path), help="For files.  [default: TMPDIR]")
def main(jets: int, folder: Path | None) -> None:
    """Print a row for each input."""
    table = Table("input", "jets", "HDF5, MB", "peak memory, MiB", "seconds", "jets/s")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        first = root / "first.h5"
        # In a process of its own: the kernel counts a parent's memory as its child's peak.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            other.submit(write_jets, first, jets).result()
        for scale in SCALES:
            files = root / f"files{scale}"
            files.mkdir()
            for number in range(scale):
                os.link(first, files / f"jetImage_{number}_100p.h5")
            archive = write_tar(root / f"jets{scale}.tar.gz", files)
            for source in (files, archive):
                peak_mib, seconds = converted(source, root / f"out_{source.name}")
                kind = "folder" if source is files else "tar.gz"
                megabytes = scale * first.stat().st_size / 1e6
                table.add_row(
                    f"{scale}x {kind}",
                    f"{scale * jets}",
                    f"{megabytes:.0f}",
                    f"{peak_mib:.0f}",
                    f"{seconds:.1f}",
                    f"{scale * jets / seconds:.0f}",
                )
            archive.unlink()
    Console().print(table)


def write_jets(path: Path, n_jets: int) -> None:
    made_up_file(n_jets, ("g", "q", "w", "z", "t")).write(path, compression="gzip")


def converted(source: Path, out: Path) -> tuple[float, float]:
    """Return peak resident memory in MiB and seconds of one conversion."""
    command = [sys.executable, "-m", "ucluster_tune", "data", "convert"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(source), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"the conversion of {source} failed")
    return usage.ru_maxrss / 1024, time.perf_counter() - started


if __name__ == "__main__":
    main()
