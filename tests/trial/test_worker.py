"""What a worker process does before it trains."""

import os
import shutil
import subprocess
import sys

import pytest

from ucluster_tune.trial.processes.worker import refuse_unresolved_host

REFUSE = """
import socket, sys
from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.worker import refuse_unresolved_host
socket.sethostname("no-such-name-anywhere.invalid")
try:
    refuse_unresolved_host()
except MachineError as error:
    print(error)
assert "tensorflow" not in sys.modules
"""
LOG = """
import ctypes, logging, sys
from pathlib import Path
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.processes.log import ProcessLog
libc = ctypes.CDLL(None)
log = ProcessLog()
for folder in sys.argv[1:]:
    log.lead_to(TrialFiles(Path(folder)))
    print("from python", folder, flush=True)
    logging.getLogger("any").info("from a logger %s", folder)
    libc.puts(b"from C " + folder.encode())
    libc.fflush(None)
    log.leave()
    print("after", folder, flush=True)
"""


def test_host_that_knows_its_name_is_accepted():
    refuse_unresolved_host()


def test_host_that_cannot_resolve_its_name_is_refused():
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root can give a process a host name of its own")
    own_name = [unshare, "--uts", sys.executable, "-c", REFUSE]
    result = subprocess.run(own_name, capture_output=True, text=True, check=False)
    if "unshare failed" in result.stderr:
        pytest.skip("host names of their own are not allowed here")
    assert result.returncode == 0, result.stderr
    assert "'no-such-name-anywhere.invalid' cannot resolve its own name" in result.stdout
    assert "/etc/hosts" in result.stdout


def test_all_output_of_a_training_goes_to_the_end_of_its_log_and_nothing_else_does(tmp_path):
    folders = [str(tmp_path / name) for name in ("first", "second")]
    before = tmp_path / "first" / "workers.log"
    before.parent.mkdir()
    before.write_text("before\n")
    result = subprocess.run(
        [sys.executable, "-c", LOG, *folders], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [f"after {folder}" for folder in folders]
    assert result.stderr == ""
    for folder, started in zip(folders, (["before"], []), strict=True):
        lines = (tmp_path / folder / "workers.log").read_text().splitlines()
        said = [line.split(" INFO ")[-1] for line in lines]
        words = ("from python", "from a logger", "from C")
        assert said == [*started, *(f"{word} {folder}" for word in words)]
