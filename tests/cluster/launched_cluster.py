"""A Ray cluster made with `ray up` on hosts of a laboratory, as seen from a laptop beside it."""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import CHECKOUT, SHARED, Host, Laboratory, Running

PROGRAMS = Path(sys.executable).parent  # of the environment: ray, ucluster-tune
PLANTED = "/srv/planted"  # on each host, first on Python's path: what a test has put there
STUDIES = f"{SHARED}/studies"

# Ray's health checks, for the head. By default five checks that each fail after 13 s make a node
# dead: 65 s after its power was cut. Here 36 s, which a cable that is cut for 20 s still survives:
# after that TCP tries again 26 s after the cut, and it may be one check later that this is seen.
_HEALTH = {"period_ms": 3000, "timeout_ms": 3000, "failure_threshold": 6}
# A node that misses the head ends its Ray by itself after so long, 60 s by default.
_HEAD_MISSED_S = 35


def environment_lines() -> list[str]:
    """What the shell of each machine of a cluster has in its environment."""
    return [
        f"export PATH={PROGRAMS}:$PATH",
        f"export PYTHONPATH={PLANTED}:{CHECKOUT}",
        "export RAY_AUTH_MODE=token",
        "export RAY_USAGE_STATS_ENABLED=0",
        f"export UCLUSTER_TUNE_STUDIES={STUDIES}",
        "export TF_CPP_MIN_LOG_LEVEL=2",
        f"export RAY_gcs_rpc_server_reconnect_timeout_s={_HEAD_MISSED_S}",
        *(f"export RAY_health_check_{name}={value}" for name, value in _HEALTH.items()),
    ]


def cluster_file(head: Host, workers: list[Host]) -> dict[str, Any]:
    """The cluster file of these hosts for Ray's launcher; each says that it has one CPU."""
    small = "--num-cpus=1 --object-store-memory=80000000 --disable-usage-stats"
    exports = (f"echo {shlex.quote(line)} >> ~/.bashrc" for line in environment_lines())
    return {
        "cluster_name": "laboratory",
        "provider": {
            "type": "local",
            "head_ip": head.address,
            "worker_ips": [worker.address for worker in workers],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"},
        "min_workers": len(workers),
        "max_workers": len(workers),
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        "setup_commands": [" && ".join(exports)],
        "head_start_ray_commands": [
            # Version 2 takes the head for one of the workers and never starts the last of them.
            "export RAY_enable_autoscaler_v2=0;"
            f" ray start --head --port=6379 {small}"
            " --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            "ray stop --force",  # what is left where the cable was cut for long
            # With --block all of Ray ends with its raylet; without, agents outlive `ray down`.
            f"setsid nohup ray start --address=$RAY_HEAD_IP:6379 {small} --block"
            " > /tmp/ray_start.log 2>&1 < /dev/null &",
        ],
    }


class LaunchedCluster:
    """A head, two workers and a laptop that is no part of it.

    Args:
        laboratory: without hosts yet.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.head, self.laptop = laboratory.add("head"), laboratory.add("laptop")
        self.workers = [laboratory.add(f"worker{n}") for n in (1, 2)]
        for host in laboratory.hosts.values():
            (host.disk / "srv" / "planted").mkdir()
        # The laptop has the program, the token and the cluster file, and nothing of the cluster.
        lines = [f"export PATH={PROGRAMS}:$PATH", f"export PYTHONPATH={CHECKOUT}"]
        start = (self.laptop.home / ".bashrc").read_text(encoding="utf-8")
        self.laptop.write_home(".bashrc", "\n".join([start, *lines, ""]))
        file = yaml.safe_dump(cluster_file(self.head, self.workers), sort_keys=False)
        self.laptop.write_home("ray_cluster.yaml", file)

    def up(self) -> None:
        """Make the token and type `ray up`; returns when all nodes are there."""
        self.laptop.run("ray get-auth-token --generate")
        self.laptop.run("ray up -y ray_cluster.yaml", timeout_s=120)
        self.wait_for_cpus(3)

    def down(self) -> str:
        """Type `ray down`; return what it wrote."""
        done = self.laptop.run("ray down -y ray_cluster.yaml", timeout_s=120)
        return done.stdout + done.stderr

    def status(self) -> str:
        """What `ray status` says on the head."""
        return self.head.run("ray status", check=False).stdout

    def wait_for_cpus(self, n_cpus: int, timeout_s: float = 120) -> None:
        """Wait until Ray has so many CPUs."""
        deadline = time.monotonic() + timeout_s
        while f"/{n_cpus}.0 CPU" not in (status := self.status()):
            assert time.monotonic() < deadline, f"not {n_cpus} CPUs in {timeout_s:g} s:\n{status}"
            time.sleep(0.3)

    def type(self, words: str, timeout_s: float = 60, check: bool = True) -> tuple[int, str, str]:
        """Type `ucluster-tune ...` at the laptop; returns exit code and both outputs."""
        done = self.laptop.run(f"ucluster-tune {words}", timeout_s=timeout_s, check=check)
        return done.returncode, done.stdout, done.stderr

    def start(self, words: str) -> Running:
        """Type `ucluster-tune ...` at the laptop, and do not wait for its end."""
        return self.laptop.start(f"ucluster-tune {words}", self.laboratory.folder / "typed")

    def events(self, study: str) -> list[dict[str, Any]]:
        """The events in the record of a study, those written whole."""
        record = self.laboratory.shared / "studies" / study / "record.jsonl"
        lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("}")]
