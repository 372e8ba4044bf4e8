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
from ucluster_tune.trial.processes.worker import log_to_file
log_to_file(Path(sys.argv[1]))
print("from python", flush=True)
logging.getLogger("any").info("from a logger")
libc = ctypes.CDLL(None)
libc.puts(b"from C")
libc.fflush(None)
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


def test_all_output_of_a_worker_goes_to_the_end_of_its_file(tmp_path):
    log = tmp_path / "workers.log"
    log.write_text("before\n")
    result = subprocess.run(
        [sys.executable, "-c", LOG, str(log)], capture_output=True, text=True, check=True
    )
    assert result.stdout == result.stderr == ""
    text = log.read_text()
    assert text.startswith("before\n")
    for line in ("from python", "from a logger", "from C"):
        assert line in text
