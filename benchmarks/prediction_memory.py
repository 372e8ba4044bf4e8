"""Memory and speed of `ucluster-tune predict` as the data set grows.

    python -m benchmarks.prediction_memory MODEL_DIR [--workers N]

Predicts the sample that ships, and 4 and 16 times of it, each in a process of its own; prints
jets a second and the largest memory of all its processes together.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.data.making.writer import write_dataset

SAMPLE = Path(__file__).parents[1] / "search_spaces" / "data" / "wzt_sample"
TIMES = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    print("  jets   jets/s   largest memory, MiB")
    with tempfile.TemporaryDirectory() as folder:
        for times in TIMES:
            data = Path(folder) / f"{times}x"
            n_jets = write_sample(data, times)
            seconds, n_bytes = predict(options.model_dir, data, options.workers)
            print(f"{n_jets:>6,}   {n_jets / seconds:>6.0f}   {n_bytes / 2**20:>19.0f}")


def write_sample(folder: Path, times: int) -> int:
    """Return the sample, repeated; returns its number of jets."""
    tables = {
        split: pa.concat_tables([pq.read_table(SAMPLE / f"{split}-00000.parquet")] * times)
        for split in SPLITS
    }
    manifest = write_dataset(
        folder, tables, name="repeated", source="the sample", command="benchmark", settings={}
    )
    return sum(manifest.n_jets(split) for split in SPLITS)


def predict(model: Path, data: Path, n_workers: int) -> tuple[float, int]:
    """Seconds, start included, and bytes of memory that no other process shares."""
    started = time.perf_counter()
    process = psutil.Popen(
        [
            *(sys.executable, "-m", "ucluster_tune", "predict", str(model), str(data)),
            *("--out", str(data / "clusters.parquet"), "--workers", str(n_workers)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    largest = 0
    while process.poll() is None:
        largest = max(largest, memory_of(process))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    return time.perf_counter() - started, largest


def memory_of(process: psutil.Process) -> int:
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().uss
    except psutil.Error:  # one of them ended meanwhile
        return 0
    return total


if __name__ == "__main__":
    main()
