"""A Ray cluster made with `ray up` on hosts of a laboratory, as seen from a laptop beside it.

Its file is the one that ships for machines reached by ssh, with the lines FILL IN filled in. What
differs:

- nothing is installed, since the hosts have this environment already;
- each host says that it has one CPU, and keeps 80 MB for Ray's objects;
- a host whose power was cut is lost after 36 s in place of 65 s, and a node that misses the head
  ends its Ray after 35 s in place of 60 s, so that the story takes less time;
- TensorFlow logs less, and what a test plants comes first on Python's path;
- what travels is named by its full path, since the laptop has no checkout to type this in.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import CHECKOUT, HOME, SHARED, Host, Laboratory, Running

ON_PREMISE = CHECKOUT / "docs" / "clusters" / "on_premise.yaml"
PROGRAMS = Path(sys.executable).parent  # of the environment: ray, ucluster-tune
PLANTED = "/srv/planted"  # on each host, first on Python's path: what a test has put there
STUDIES = f"{SHARED}/studies"
JETS = f"{SHARED}/jets"

# Ray's health checks, for the head. By default five checks that each fail after 13 s make a node
# dead: 65 s after its power was cut. Here 36 s, which a cable that is cut for 20 s still survives:
# after that TCP tries again 26 s after the cut, and it may be one check later that this is seen.
_HEALTH = {"period_ms": 3000, "timeout_ms": 3000, "failure_threshold": 6}
# A node that misses the head ends its Ray by itself after so long, 60 s by default.
_HEAD_MISSED_S = 35
_ENVIRONMENT = [
    f"PYTHONPATH={PLANTED}:{HOME}/ucluster-tune",
    "TF_CPP_MIN_LOG_LEVEL=2",
    f"RAY_gcs_rpc_server_reconnect_timeout_s={_HEAD_MISSED_S}",
    *(f"RAY_health_check_{name}={value}" for name, value in _HEALTH.items()),
]


def cluster_file(head: Host, workers: list[Host]) -> dict[str, Any]:
    """The cluster file of these hosts."""
    config: dict[str, Any] = yaml.safe_load(ON_PREMISE.read_text(encoding="utf-8"))
    config["provider"] |= {
        "head_ip": head.address,
        "worker_ips": [worker.address for worker in workers],
    }
    config["auth"] |= {"ssh_user": "root"}
    config |= {"min_workers": len(workers), "max_workers": len(workers)}
    config["file_mounts"] = {
        there: here if here.startswith("~") else str(CHECKOUT / here)
        for there, here in config["file_mounts"].items()
    }
    *setup, install = config["setup_commands"]
    assert "make -C ~/ucluster-tune install" in install
    environment = shlex.join(f"export {line}" for line in _ENVIRONMENT)
    config["setup_commands"] = [
        *(line.replace("/shared/ucluster-tune/studies", STUDIES) for line in setup[:2]),
        f"printf '%s\\n' {environment} >> ~/.ucluster_tune_environment",
        *setup[2:],
        f"ln -sfn {PROGRAMS.parent} ~/ucluster-tune/.venv",
    ]
    for kind in ("head", "worker"):
        key = f"{kind}_start_ray_commands"
        config[key] = [
            line.replace("ray start", "ray start --num-cpus=1 --object-store-memory=80000000")
            for line in config[key]
        ]
    return config


class LaunchedCluster:
    """A head, two workers and a laptop that is no part of it.

    Args:
        laboratory: without hosts yet.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.head, self.laptop = laboratory.add("head"), laboratory.add("laptop", shares=False)
        self.workers = [laboratory.add(f"worker{n}") for n in (1, 2)]
        for host in laboratory.hosts.values():
            (host.disk / "srv" / "planted").mkdir()
        # The laptop has the program, the token and the cluster file, and nothing of the cluster.
        lines = [f"export PATH={PROGRAMS}:$PATH", f"export PYTHONPATH={CHECKOUT}"]
        start = (self.laptop.home / ".bashrc").read_text(encoding="utf-8")
        self.laptop.write_home(".bashrc", "\n".join([start, *lines, ""]))
        file = yaml.safe_dump(cluster_file(self.head, self.workers), sort_keys=False)
        self.laptop.write_home("ray_cluster.yaml", file)

    @property
    def nodes(self) -> list[Host]:
        """The hosts that belong to the cluster."""
        return [self.head, *self.workers]

    @property
    def token(self) -> str:
        """What nobody may read in a log or a file of a study."""
        return (self.laptop.home / ".ray" / "auth_token").read_text(encoding="utf-8").strip()

    def up(self, n_workers: int = 2) -> str:
        """Make the token and type `ray up`; returns what it wrote once so many nodes are there."""
        if not (self.laptop.home / ".ray" / "auth_token").exists():
            self.laptop.run("ray get-auth-token --generate > /dev/null")  # it prints the token
        done = self.laptop.run("ray up -y ray_cluster.yaml", timeout_s=180)
        self.wait_for_cpus(1 + n_workers)
        return done.stdout + done.stderr

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
            time.sleep(0.5)

    def type(self, words: str, timeout_s: float = 60, check: bool = True) -> tuple[int, str, str]:
        """Type `ucluster-tune ...` at the laptop; returns exit code and both outputs."""
        done = self.laptop.run(f"ucluster-tune {words}", timeout_s=timeout_s, check=check)
        return done.returncode, done.stdout, done.stderr

    def start(self, words: str) -> Running:
        """Type `ucluster-tune ...` at the laptop, and do not wait for its end."""
        return self.laptop.start(f"ucluster-tune {words}", self.laboratory.folder / "typed")
