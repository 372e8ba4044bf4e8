"""Commands on the head of a cluster and tunnels to it; a script stands for ssh and the network."""

import socket
import threading
import time

import pytest

from tests.cluster.far_head import FarHead
from ucluster_tune.cluster.launched.head import Head
from ucluster_tune.errors import MachineError

BASHRC = """
case $- in *i*) ;; *) return;; esac
echo "welcome to the lab"
export FROM_BASHRC='set by the lab'
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return FarHead(tmp_path, monkeypatch, BASHRC)


@pytest.fixture
def head(lab):
    """The head of the laboratory's cluster, whatever runs on it."""
    ssh = ("ssh", "-o", "StrictHostKeyChecking=no", "physicist@lab")
    return Head(lab.file, "lab", "lab", ssh, None, 8265)


def test_a_command_gets_the_environment_that_setup_commands_wrote(head):
    assert head.output(["printenv", "FROM_BASHRC"]) == "set by the lab\n"


@pytest.mark.parametrize("word", ["a b", "it's", '"$HOME"', "`id`", "x;y", "ü\n2", "*"])
def test_arguments_arrive_as_they_were_typed(head, word):
    assert head.output(["printf", "%s", word]) == word


def test_the_exit_code_and_both_outputs_come_back_apart(head, capfd):
    assert head.run(["sh", "-c", "echo out; echo err >&2; exit 7"]) == 7
    out, err = capfd.readouterr()
    assert (out, err) == ("out\n", "err\n")


CHATTER = {
    "greeting": b'{"motd": 1}\nWillkommen\xdf\n\nno newline',
    "farewell": b"[]\nlogout\n",
    "profile": "echo '(base) conda says hello'\n. ~/.bashrc\n",
}


def test_what_a_login_prints_around_a_command_is_not_its_output(head, lab):
    lab.chatter(**CHATTER)
    assert head.output(["printenv", "FROM_BASHRC"]) == "set by the lab\n"
    assert head.document(["echo", '{"a": [1]}']) == {"a": [1]}
    with pytest.raises(MachineError, match="on lab failed: no such thing"):
        head.output(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_what_a_profile_prints_is_not_shown(head, lab, capfd):
    lab.chatter(b"", b"", CHATTER["profile"])
    assert head.run(["echo", "[]"]) == 0
    assert capfd.readouterr().out == "[]\n"


def test_output_that_is_no_document_and_a_login_that_runs_nothing_are_told(head, lab):
    with pytest.raises(MachineError, match=r"`echo x` on lab printed no JSON document .*: 'x'"):
        head.document(["echo", "x"])
    lab.chatter(b"", b"", "echo the password expired; exit 0\n")
    with pytest.raises(MachineError, match=r"`true` did not run on lab, .*`ray exec .* date`"):
        head.output(["true"])


def test_a_failure_is_told_with_its_last_words(head):
    with pytest.raises(MachineError, match="on lab failed: no such thing"):
        head.output(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_command_that_hangs_has_a_limit(head):
    with pytest.raises(MachineError, match=r"no answer within 0\.5 s"):
        head.output(["sleep", "30"], timeout_s=0.5)


def test_a_connection_that_breaks_is_no_exit_code_of_the_command(head, lab):
    lab.cut_cable()
    with pytest.raises(MachineError, match="broke or was refused"):
        head.run(["true"])
    with pytest.raises(MachineError, match="No route to host"):
        head.output(["true"])


def test_in_a_container_the_command_runs_inside_of_it(head, lab, tmp_path):
    docker = tmp_path / "bin" / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$0.log"\nshift 3\nexec "$@"\n')
    docker.chmod(0o755)
    inside = Head(lab.file, "lab", "lab", head.ssh, "ray_container", 8265)
    assert inside.output(["printf", "%s", "it's"]) == "it's"
    assert "exec -i ray_container bash" in (tmp_path / "bin" / "docker.log").read_text()


@pytest.fixture
def echo_server():
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(connection.recv(100))

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.close()


def _echoed(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"jets")
        return connection.recv(100)


def test_a_tunnel_leads_to_what_the_head_sees_and_ends_with_its_block(head, echo_server):
    with head.tunnel(echo_server) as tunnel:
        assert _echoed(tunnel.port) == b"jets"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", tunnel.port), timeout=5)


def test_a_tunnel_that_broke_is_opened_again_on_its_port(head, echo_server):
    with head.tunnel(echo_server) as tunnel:
        tunnel._process.kill()
        tunnel._process.wait()
        tunnel.open()
        assert _echoed(tunnel.port) == b"jets"


def test_a_tunnel_that_cannot_be_opened_says_why_at_once(head, lab, echo_server):
    lab.cut_cable()
    started = time.monotonic()
    with pytest.raises(MachineError, match=r"no tunnel to .*No route to host"), head.tunnel("x:1"):
        pass
    assert time.monotonic() - started < 20
