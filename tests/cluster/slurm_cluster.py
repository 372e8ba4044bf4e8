"""A real Slurm on the hosts of a laboratory, from Debian's packages."""

import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.cluster.hosts import SHARED, Host, Laboratory, laboratory, why_not

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
_CONFIGURATION = """
ClusterName=laboratory
SlurmctldHost={controller.name}
SlurmUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
StateSaveLocation=/srv/slurm/state
SlurmdSpoolDir=/srv/slurm/spool
SlurmctldPidFile=/srv/slurm/slurmctld.pid
SlurmdPidFile=/srv/slurm/slurmd.pid
SlurmctldLogFile=/srv/slurm/slurmctld.log
SlurmdLogFile=/srv/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_LIMIT_S = 60


class SlurmCluster:
    """The cluster, as a user sees it who is logged in on its first node.

    Attributes:
        login: the first node, which has the controller too.
        shared: the shared disk, as seen from here.
    """

    def __init__(self, laboratory: Laboratory, hosts: list[Host]) -> None:
        self.login, self.shared = hosts[0], laboratory.shared
        self._hosts = hosts

    def start(self, stack: ExitStack) -> None:
        """Start its daemons, which end with the stack; return once all nodes are idle."""
        nodes = "\n".join(f"NodeName={host.name} CPUs=4 State=UNKNOWN" for host in self._hosts)
        text = _CONFIGURATION.format(controller=self.login, nodes=nodes)
        (self.shared / "slurm.conf").write_text(text)
        for host in self._hosts:
            for folder in ("state", "spool"):
                (host.disk / "srv" / "slurm" / folder).mkdir(parents=True)
        file = f"{SHARED}/slurm.conf"
        daemons = [(self.login, "slurmctld -D -i"), *((host, "slurmd -D") for host in self._hosts)]
        for host, daemon in daemons:
            stack.enter_context(host.start(f"exec {daemon} -f {file}", host.disk / "srv"))
        deadline = time.monotonic() + _LIMIT_S
        while self.call("sinfo", "--noheader", "--format=%t").split() != ["idle"]:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def call(self, *words: str, folder: str = "/srv", exports: str = "true") -> str:
        """Run one of Slurm's commands on the login node; returns all that it prints."""
        line = f"cd {folder} && {exports} && SLURM_CONF={SHARED}/slurm.conf {shlex.join(words)}"
        done = self.login.run(line, check=False)
        return done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"

    def state(self, job: str) -> str:
        """The state of a job, such as RUNNING."""
        shown = self.call("scontrol", "show", "job", "--oneliner", job)
        return next((w[9:] for w in shown.split() if w.startswith("JobState=")), shown)

    def logs(self) -> str:
        """The last words of all its daemons."""
        files = [log for h in self._hosts for log in sorted((h.disk / "srv/slurm").glob("*.log"))]
        return "\n".join(f"{path}:\n{path.read_text()[-1500:]}" for path in files)

    def processes(self) -> list[str]:
        """What runs on its nodes beside Slurm's daemons."""
        lines = [line for host in self._hosts for line in host.processes().values()]
        own = ("slurmctld", "slurmd", "slurmscriptd")
        return [line for line in lines if line and not any(name in line for name in own)]


@contextmanager
def running_slurm(folder: Path, n_nodes: int) -> Iterator[SlurmCluster]:
    """Give a cluster until the end."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        pytest.skip(f"no {missing[0]} here: apt install slurmctld slurmd slurm-client")
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with laboratory(folder) as made, ExitStack() as stack:
        hosts = [made.add(f"node{number}") for number in range(1, n_nodes + 1)]
        cluster = SlurmCluster(made, hosts)
        cluster.start(stack)
        yield cluster
        with suppress(AssertionError):
            cluster.call("scancel", "--me")
