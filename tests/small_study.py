"""A data set, a study and a command line that are small enough for tests with real workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.format.schema import JET_CLASS, SPLITS, jets_schema
from ucluster_tune.data.making.writer import write_dataset
from ucluster_tune.trial.training_task import TrainingTask

SAMPLE = Path(__file__).parents[1] / "search_spaces" / "data" / "wzt_sample"
N_JETS = {"train": 48, "validation": 16, "test": 16}  # of each class


def write_small_dataset(folder: Path, first: int = 0) -> Path:
    """Jets of each class of the sample that ships, from its `first`; row groups differ in size."""
    tables = {}
    for split in SPLITS:
        table = pq.read_table(SAMPLE / f"{split}-00000.parquet")
        of_class = [
            table.filter(pc.equal(table[JET_CLASS], name)).slice(first, N_JETS[split])
            for name in ("w", "z", "t")
        ]
        mixed = pa.concat_tables(of_class)
        order = [i + j * N_JETS[split] for i in range(N_JETS[split]) for j in range(3)]
        tables[split] = mixed.take(order).replace_schema_metadata(jets_schema().metadata)
    write_dataset(
        folder,
        tables,
        name="small",
        source="the sample that ships",
        command="tests",
        settings={},
        row_group_size=20,
    )
    return folder


def small_study(jets: Path, **sections: Any) -> dict[str, Any]:
    """A study whose network has 4 channels a layer; sections given here are merged into it."""
    study: dict[str, Any] = {
        "data": {"path": str(jets)},
        "model": {
            "n_neighbors": 3,
            "first_attention_width": 4,
            "first_widths": [4, 4],
            "second_attention_width": 4,
            "second_widths": [4, 4],
            "head_widths": [4, 4],
        },
        "training": {
            "n_epochs": 3,
            "n_pretraining_epochs": 1,
            "global_batch_size": 24,
            "evaluation_batch_size": 24,
        },
        "scheduler": {"name": "none"},
        "resources": {"workers_per_trial": 2, "cpus_per_worker": 1.0},
    }
    for name, values in sections.items():
        merged = isinstance(values, dict) and name != "search_space"
        study[name] = {**study.get(name, {}), **values} if merged else values
    for path in study.get("search_space", {}):
        section, _, key = path.partition(".")
        study.get(section, {}).pop(key, None)  # a searched value has no fixed one beside it
    return study


def write_study(path: Path, jets: Path, **sections: Any) -> Path:
    """Writes `small_study` to a file."""
    path.write_text(
        yaml.safe_dump(small_study(jets, **sections), sort_keys=False), encoding="utf-8"
    )
    return path


def task_of(jets: Path, folder: Path, **sections: Any) -> TrainingTask:
    """The one training of `small_study`, kept in a folder."""
    study = StudyConfig.model_validate(small_study(jets, **sections))
    return TrainingTask(trial_config_of(study), str(folder), study.objective)


def command(*arguments: str | Path) -> list[str]:
    """The command line of ucluster-tune."""
    return [sys.executable, "-m", "ucluster_tune", *map(str, arguments)]


def environment() -> dict[str, str]:
    """The environment of a terminal of 80 columns."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "TF_"))}
    return {**kept, "COLUMNS": "80", "PYTHONPATH": str(SAMPLE.parents[2])}


# For a test's Ray on the loopback alone: Ray would take another address of the machine for it.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def call(
    *arguments: str | Path,
    timeout_s: float = 200,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Runs ucluster-tune to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment() | dict(variables),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def call_together(
    *calls: Sequence[str | Path],
    variables: Mapping[str, str] = MappingProxyType({}),
) -> list[subprocess.CompletedProcess[str]]:
    """Runs several commands that do not disturb each other: most of each is Python's start."""
    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(lambda call_: call(*call_, variables=variables), calls))


class RunningCommand:
    """ucluster-tune in a process group of its own, as a terminal starts it.

    Args:
        folder: where its output is kept.
        arguments: of ucluster-tune.
        variables: set in its environment.
    """

    def __init__(self, folder: Path, *arguments: str | Path, **variables: str) -> None:
        folder.mkdir(exist_ok=True)
        self.out, self.err = folder / "stdout.txt", folder / "stderr.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                command(*arguments),
                env=environment() | variables,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.started: set[psutil.Process] = set()

    def wait_for(self, text: str, timeout_s: float = 240) -> None:
        """Waits until `text` appears on standard error."""
        deadline = time.monotonic() + timeout_s
        while text not in self.err.read_text():
            shown = self.err.read_text()[-2000:]
            assert self.process.poll() is None, f"ended early:\n{shown}"
            assert time.monotonic() < deadline, f"no {text!r} in:\n{shown}"
            time.sleep(0.05)
        self.note_processes()

    def note_processes(self) -> list[psutil.Process]:
        """All processes that the command has started, also remembered for `left_over`."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.started.update(children)
        return children

    def workers(self) -> list[psutil.Process]:
        """The processes of Horovod workers."""
        return workers_among(self.note_processes())

    def signal_workers(self, number: signal.Signals) -> None:
        """Sends a signal to the Horovod workers alone: SIGSTOP has training wait."""
        for worker in self.workers():
            worker.send_signal(number)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the whole process group, as Ctrl-C does."""
        self.note_processes()
        os.killpg(self.process.pid, number)

    def end(self, timeout_s: float = 240) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(timeout_s)

    def left_over(self, timeout_s: float) -> list[psutil.Process]:
        """The processes that still live so long after the command's end."""
        _, alive = psutil.wait_procs([p for p in self.started if is_alive(p)], timeout_s)
        return [process for process in alive if is_alive(process)]

    def kill(self) -> None:
        """Ends whatever is left, for the end of a test that failed."""
        for process in self.started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()


def workers_among(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The processes of Horovod workers."""
    return [p for p in processes if "HorovodWorker" in command_line(p)]


def worker_processes() -> list[psutil.Process]:
    """Those of this process that live on: one that was killed takes a moment on a busy machine."""
    workers = workers_among(psutil.Process().children(recursive=True))
    _, alive = psutil.wait_procs([p for p in workers if is_alive(p)], timeout=10)
    return [process for process in alive if is_alive(process)]


def processes_mentioning(text: str) -> list[psutil.Process]:
    """The living processes, but for this one, that have `text` in their command line."""
    found = [p for p in psutil.process_iter() if p.pid != os.getpid() and text in command_line(p)]
    return [process for process in found if is_alive(process)]


def command_line(process: psutil.Process) -> str:
    """The command line, empty for a process that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
