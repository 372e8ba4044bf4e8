"""A head reached by an `ssh` that stands for the network: it runs what it is told right here."""

import sys
from pathlib import Path

import yaml

SSH = """#!{python}
import os, socket, subprocess, sys, threading
arguments, forwards, words = sys.argv[1:], [], None
while arguments:
    word = arguments.pop(0)
    if word == "-L":
        forwards.append(arguments.pop(0))
    elif word in ("-o", "-i"):
        arguments.pop(0)
    elif not word.startswith("-"):
        target, words = word, arguments
        break
with open(os.environ["FAR_HEAD_LOG"], "a") as log:
    log.write(repr(sys.argv[1:]) + "\\n")
if os.path.exists(os.environ["FAR_HEAD_LOG"] + ".cut"):
    sys.exit("ssh: connect to host: Connection refused") if False else None
    sys.stderr.write("ssh: connect to host far: Connection refused\\n")
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
            far = socket.create_connection((host, port))
        except OSError:
            near.close()
            continue
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
for forward in forwards:
    local_host, local_port, host, port = forward.split(":")
    server = socket.create_server((local_host, int(local_port)))
    threading.Thread(target=serve, args=(server, host, int(port)), daemon=True).start()
if not words:
    threading.Event().wait()
environment = dict(os.environ, HOME=os.environ["FAR_HEAD_HOME"])
sys.exit(subprocess.call(["bash", "-c", " ".join(words)], env=environment))
"""


def make_far_head(folder: Path, monkeypatch, bashrc: str = "", **sections) -> Path:
    """Returns a cluster file whose head is this machine, as `ray up` left it."""
    tools = folder / "bin"
    home = folder / "home"
    for path in (tools, home):
        path.mkdir()
    ssh = tools / "ssh"
    ssh.write_text(SSH.format(python=sys.executable))
    ssh.chmod(0o755)
    (home / ".bashrc").write_text(bashrc)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("FAR_HEAD_LOG", str(folder / "ssh.log"))
    monkeypatch.setenv("FAR_HEAD_HOME", str(home))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    file = folder / "cluster.yaml"
    config = {
        "cluster_name": "lab",
        "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
        "auth": {"ssh_user": "physicist", "ssh_proxy_command": "none"},
        **sections,
    }
    file.write_text(yaml.safe_dump(config))
    return file
