"""The hosts that tests of a cluster run on: what tells them apart, what is cut, what is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import hosts
from tests.cluster.hosts import CHECKOUT, SHARED, laboratory
from tests.small_study import processes_mentioning

NEEDS_HOSTS = hosts.why_not()
pytestmark = pytest.mark.skipif(NEEDS_HOSTS is not None, reason=str(NEEDS_HOSTS))

BY_THE_SYSTEM_S = 10


def namespaces():
    """The network, mount, process and name namespaces of all processes."""
    found = set()
    for kind in ("net", "mnt", "pid", "uts"):
        for link in Path("/proc").glob(f"[0-9]*/ns/{kind}"):
            try:
                found.add(str(link.readlink()))
            except OSError:  # ended meanwhile
                continue
    return found


def cards():
    return {path.name for path in Path("/sys/class/net").iterdir()}


def mounts():
    return Path("/proc/self/mounts").read_text()


def wait_until_gone(found, timeout_s=BY_THE_SYSTEM_S):
    deadline = time.monotonic() + timeout_s
    while left := found():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with laboratory(tmp_path_factory.mktemp("lab")) as made:
        for name in ("near", "far"):
            made.add(name)
        made.add("poor", shares=False)
        yield made


def test_a_host_has_its_name_address_home_and_processes(lab):
    near, far = lab.hosts["near"], lab.hosts["far"]
    own = near.run("hostname; whoami; echo $HOME; ls -d /proc/[0-9]* | wc -l").stdout.split()
    assert own[:3] == ["near", "root", hosts.HOME]
    assert int(own[3]) < 10  # what runs this, and sshd
    assert near.ssh(far, "hostname; getent hosts near; getent hosts far").stdout.split() == [
        "far", near.address, "near", far.address, "far",
    ]  # fmt: skip


def test_disks_are_apart_but_for_the_shared_one(lab):
    near, far, poor = (lab.hosts[name] for name in ("near", "far", "poor"))
    near.run(f"touch /tmp/mine ~/mine /dev/shm/mine; echo jets > {SHARED}/ours")
    assert far.run("ls -d /tmp/mine ~/mine /dev/shm/mine", check=False).stdout == ""
    assert far.run(f"cat {SHARED}/ours").stdout == "jets\n"
    assert poor.run(f"ls -A {SHARED}").stdout == ""
    assert not Path("/tmp/mine").exists()


def test_shared_disk_can_be_taken_away_for_a_while(lab):
    near, far = lab.hosts["near"], lab.hosts["far"]
    near.unmount_shared()
    try:
        near.run(f"echo other > {SHARED}/theirs")
        assert far.run(f"ls {SHARED}/theirs", check=False).stdout == ""
    finally:
        near.mount_shared()
    far.run(f"echo jets > {SHARED}/theirs")
    assert near.run(f"cat {SHARED}/theirs").stdout == "jets\n"


def test_there_is_no_way_out(lab):
    """Ray looks for its own address by such a connection, and must not wait for it."""
    began = time.monotonic()
    tried = lab.hosts["near"].run("exec 3<>/dev/tcp/8.8.8.8/53", check=False)
    assert tried.returncode
    assert time.monotonic() - began < 5


def test_a_host_that_forgot_its_name_is_known_to_others(lab):
    near, far = lab.hosts["near"], lab.hosts["far"]
    near.forget_own_name()
    try:
        assert near.run("getent hosts near", check=False).returncode
        assert far.run("getent hosts near").stdout.split() == [near.address, "near"]
    finally:
        near.forget_own_name(False)
    near.run("getent hosts near")


def test_through_a_cut_cable_nothing_comes_and_nobody_is_told(lab, tmp_path):
    near, far = lab.hosts["near"], lab.hosts["far"]
    talk = f"ssh -o StrictHostKeyChecking=no {far.address} 'while sleep 0.1; do date +%N; done'"
    with near.start(talk, tmp_path) as talking:
        deadline = time.monotonic() + 20
        while not talking.out:
            assert time.monotonic() < deadline, talking.shown
            time.sleep(0.05)
        far.cut_cable()
        time.sleep(0.3)
        heard = talking.out
        time.sleep(0.7)
        assert talking.out == heard
        assert talking.process.poll() is None
        far.plug_in()
        deadline = time.monotonic() + 20
        while talking.out == heard:
            assert time.monotonic() < deadline, talking.shown
            time.sleep(0.05)


def test_a_power_cut_ends_all_at_once_and_the_disk_stays(lab, tmp_path):
    near, far = lab.hosts["near"], lab.hosts["far"]
    far.run("echo kept > ~/file; nohup sleep 1000 > /dev/null 2>&1 &")
    assert any("sleep 1000" in line for line in far.processes().values())
    talk = f"ssh -o StrictHostKeyChecking=no {far.address} 'echo hello; sleep 500'"
    with near.start(talk, tmp_path) as talking:
        talking.wait_for("hello")
        began = time.monotonic()
        far.power_off()
        assert time.monotonic() - began < 5
        assert processes_mentioning("sleep 1000") == []
        time.sleep(0.5)
        assert talking.process.poll() is None  # nobody said good-bye
    far.boot()
    assert near.ssh(far, "cat file").stdout == "kept\n"
    assert far.processes() == {}


def test_listening_tells_address_and_port(lab, tmp_path):
    near = lab.hosts["near"]
    serve = "import socket, time; s = socket.create_server(('127.0.0.1', 4242)); time.sleep(60)"
    with near.start(f'python3 -c "{serve}"', tmp_path):
        deadline = time.monotonic() + 20
        while not (found := near.listening()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found == {("127.0.0.1", 4242)}
        assert near.listeners() == [("python3", "127.0.0.1", 4242)]


def test_nothing_is_left_when_a_test_fails(tmp_path):
    before = (namespaces(), cards(), mounts())
    with pytest.raises(ZeroDivisionError), laboratory(tmp_path) as lab:
        lab.add("alone").run("nohup sleep 1001 > /dev/null 2>&1 &")
        assert cards() == before[1]
        _ = 1 / 0
    wait_until_gone(lambda: processes_mentioning("sleep 1001"))
    wait_until_gone(lambda: namespaces() - before[0])
    assert (cards(), mounts()) == before[1:]


def test_nothing_is_left_when_the_tests_are_killed(tmp_path):
    before = (namespaces(), cards(), mounts())
    program = """
import sys, time
from pathlib import Path
from tests.cluster.hosts import laboratory
with laboratory(Path(sys.argv[1])) as lab:
    lab.add("alone").run("nohup sleep 1002 > /dev/null 2>&1 &")
    print("up", flush=True)
    time.sleep(100)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "up\n"
            assert namespaces() - before[0]
        finally:
            running.send_signal(signal.SIGKILL)
    wait_until_gone(lambda: processes_mentioning("sleep 1002"))
    wait_until_gone(lambda: namespaces() - before[0])
    assert (cards(), mounts()) == before[1:]


def test_a_missing_tool_is_told(monkeypatch):
    monkeypatch.setattr(hosts, "TOOLS", ("ip", "no-such-tool"))
    assert str(hosts.why_not()).startswith("not installed: no-such-tool (openssh-server, rsync")


def test_without_root_there_are_none(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert hosts.why_not() == "hosts in namespaces need root"
