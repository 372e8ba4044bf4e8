"""Several ranks of one Horovod job as processes of this machine, without ssh and without Ray.

Run as a module it is one rank: it trains the given configurations one after the other.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.training.small_training import make_trainer, train, without_times
from ucluster_tune.config.trial import TrialConfig

ROOT = Path(__file__).parents[2]


def run_ranks(
    world_size: int, configs: Sequence[tuple[TrialConfig, int]], folder: Path, limit_s: float
) -> None:
    """Train each configuration for a number of epochs; ranks write to `folder`.

    Raises:
        RuntimeError: a rank failed, or they took longer than the limit; none is left running.
    """
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.http.http_server import RendezvousServer

    folder.mkdir(parents=True, exist_ok=True)
    jobs = [{"config": c.model_dump(mode="json"), "n_epochs": n} for c, n in configs]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    server = RendezvousServer(verbose=0)
    port = server.start()
    server.init(get_host_assignments(parse_hosts(f"localhost:{world_size}"), world_size))
    processes = [_start(rank, world_size, port, folder) for rank in range(world_size)]
    try:
        _wait(processes, folder, limit_s)
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        server.stop()
        server._httpd.server_close()  # which Horovod 0.28 forgets


def _start(rank: int, world_size: int, port: int, folder: Path) -> "subprocess.Popen[bytes]":
    environment = {
        "HOROVOD_RANK": rank,
        "HOROVOD_SIZE": world_size,
        "HOROVOD_LOCAL_RANK": rank,
        "HOROVOD_LOCAL_SIZE": world_size,
        "HOROVOD_CROSS_RANK": 0,
        "HOROVOD_CROSS_SIZE": 1,
        "HOROVOD_HOSTNAME": "localhost",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": port,
        "HOROVOD_GLOO_IFACE": "lo",
        "HOROVOD_GLOO_TIMEOUT_SECONDS": 60,
        "OMP_NUM_THREADS": 1,
        "TF_NUM_INTRAOP_THREADS": 1,
        "TF_CPP_MIN_LOG_LEVEL": 2,
        "CUDA_VISIBLE_DEVICES": -1,
    }
    with (folder / f"rank-{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.training.horovod_ranks", str(folder)],
            cwd=ROOT,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait(processes: "Sequence[subprocess.Popen[bytes]]", folder: Path, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while any(process.poll() is None for process in processes):
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if any(process.poll() != 0 for process in processes):
        logs = [path.read_text()[-2000:] for path in sorted(folder.glob("rank-*.log"))]
        codes = [process.poll() for process in processes]
        raise RuntimeError("\n".join([f"ranks ended with {codes} within {limit_s} s", *logs]))


def main(folder: Path) -> None:
    """Be one rank."""
    from tests.training.small_training import write_checkpoint
    from ucluster_tune.training.group import HorovodGroup

    group = HorovodGroup()
    for index, job in enumerate(json.loads((folder / "jobs.json").read_text())):
        trainer = make_trainer(TrialConfig(**job["config"]), group)
        records, checkpoints = train(trainer, job["n_epochs"])
        stem = f"job-{index}-rank-{group.rank}"
        write_checkpoint(checkpoints[0], folder / f"{stem}-first.ckpt")
        write_checkpoint(checkpoints[-1], folder / f"{stem}.ckpt")
        text = json.dumps([without_times(record) for record in records])
        (folder / f"{stem}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
