"""A head behind an `ssh` that stands for the network: what it is told runs right here.

As sshd does, it ends the command when the connection ends, if it gave it a terminal.
"""

import os
import sys
from pathlib import Path
from typing import Any

import yaml

SSH = r"""#!{python}
import os, signal, socket, subprocess, sys, threading
arguments, forwards, words = sys.argv[1:], [], []
has_terminal = "-tt" in arguments
while arguments:
    word = arguments.pop(0)
    if word == "-L":
        forwards.append(arguments.pop(0))
    elif word in ("-o", "-i"):
        arguments.pop(0)
    elif not word.startswith("-"):
        words = arguments
        break
folder = {folder!r}
with open(os.path.join(folder, "ssh.log"), "a") as log:
    log.write(repr(sys.argv[1:]) + "\n")
if os.path.exists(os.path.join(folder, "cable-is-cut")):
    sys.stderr.write("ssh: connect to host lab: No route to host\n")
    sys.exit(255)

def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(server, host, port):
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection((host, int(port)))
        except OSError:
            near.close()
            continue
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()

for forward in forwards:
    local_host, local_port, host, port = forward.split(":")
    server = socket.create_server((local_host, int(local_port)))
    threading.Thread(target=serve, args=(server, host, port), daemon=True).start()
if not words:
    threading.Event().wait()
def greet(name):
    path = os.path.join(folder, name)
    if os.path.exists(path):
        with open(path, "rb") as file:
            sys.stdout.buffer.write(file.read())
        sys.stdout.flush()

greet("greeting")
environment = dict(os.environ, HOME=os.path.join(folder, "home"))
child = subprocess.Popen(["bash", "-c", " ".join(words)], env=environment)
if has_terminal:
    def hang_up(*_):
        child.send_signal(signal.SIGHUP)
    signal.signal(signal.SIGTERM, hang_up)
code = child.wait()
greet("farewell")
sys.exit(code)
"""


class FarHead:
    """A cluster file whose head is this machine, as `ray up` left it.

    Args:
        folder: an empty one.
        monkeypatch: pytest's.
        bashrc: of the head's user.
        sections: of the cluster file.
    """

    def __init__(self, folder: Path, monkeypatch: Any, bashrc: str = "", **sections: Any) -> None:
        self.folder = folder
        self.file = folder / "ray_cluster.yaml"
        tools, self.home = folder / "bin", folder / "home"
        tools.mkdir()
        self.home.mkdir()
        ssh = tools / "ssh"
        ssh.write_text(SSH.format(python=sys.executable, folder=str(folder)))
        ssh.chmod(0o755)
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent)])
        package = Path(__file__).parents[2]
        (self.home / ".bashrc").write_text(
            f"export PATH={path}:$PATH PYTHONPATH={package}\n{bashrc}"
        )
        monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
        # A token of this machine is none of the lab's, and would be asked of every Ray after it.
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("RAY_AUTH_MODE", "")
        monkeypatch.delenv("RAY_AUTH_MODE")  # set before, it is as it was after the test
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        monkeypatch.delenv("UCLUSTER_TUNE_LOCAL", raising=False)
        config = {
            "cluster_name": "lab",
            "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
            "auth": {"ssh_user": "physicist", "ssh_proxy_command": "none"},
            **sections,
        }
        self.file.write_text(yaml.safe_dump(config))

    def cut_cable(self) -> None:
        """Let no connection come about any more."""
        (self.folder / "cable-is-cut").touch()

    def chatter(self, greeting: bytes, farewell: bytes, profile: str) -> None:
        """Have each login print something before and after a command, and its profile too."""
        (self.folder / "greeting").write_bytes(greeting)
        (self.folder / "farewell").write_bytes(farewell)
        (self.home / ".bash_profile").write_text(profile)

    def log(self) -> str:
        """All calls of ssh."""
        return (self.folder / "ssh.log").read_text()
