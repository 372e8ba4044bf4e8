"""Where workers meet: on one address of the machine; and that Horovod has what is reached for."""

import importlib.metadata
import socket
import urllib.error
import urllib.request
from contextlib import contextmanager

import psutil
import pytest
import ray
from horovod.ray import runner, strategy, worker
from horovod.runner.http import http_server

from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.horovod_internals import (
    NodeRendezvous,
    PrivateExecutor,
    own_interface,
    use_own_interface,
)

OTHER = "127.0.0.2"  # of the loopback too, and not the same


@pytest.fixture
def node_at(monkeypatch):
    """Have Ray know this node by another address."""

    def know(address):
        monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)

    know("127.0.0.1")
    return know


@contextmanager
def serving():
    server = NodeRendezvous()
    port = server.start()
    server.init([])
    try:
        yield port
    finally:
        server.stop()


def addresses_of(port):
    """The addresses on which this process listens on a port."""
    connections = psutil.Process().net_connections("tcp")
    listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
    return [end.ip for end in listening if end.port == port]


@pytest.mark.parametrize("address", ["127.0.0.1", OTHER])
def test_list_of_workers_is_served_on_the_nodes_address_alone(node_at, address):
    node_at(address)
    with serving() as port:
        assert addresses_of(port) == [address]
        (other,) = {"127.0.0.1", OTHER} - {address}
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, port), timeout=5)


def test_workers_write_and_read_there(node_at):
    with serving() as port:
        place = f"http://127.0.0.1:{port}/global/0"
        put = urllib.request.Request(place, data=b"here", method="PUT")
        assert urllib.request.urlopen(put, timeout=5).status == 200
        assert urllib.request.urlopen(place, timeout=5).read() == b"here"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/global/1", timeout=5)


def test_nothing_listens_after_the_stop_which_may_come_before_the_start(node_at):
    NodeRendezvous().stop()
    with serving() as port:
        pass
    assert addresses_of(port) == []


def test_name_server_is_not_asked_for_the_address(node_at, monkeypatch):
    def ask(*_):
        raise AssertionError("a name server may take 10 s to know nothing")

    monkeypatch.setattr(socket, "gethostbyaddr", ask)
    with serving():
        pass


def test_worker_uses_the_interface_of_its_node(node_at, monkeypatch):
    monkeypatch.setenv("HOROVOD_GLOO_IFACE", "eth7")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth7")
    use_own_interface(None)
    import os

    assert os.environ["HOROVOD_GLOO_IFACE"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"


def test_address_of_no_interface_is_told_with_what_to_do(node_at):
    node_at("192.0.2.1")
    with pytest.raises(MachineError, match=r"192\.0\.2\.1.*start Ray there with --node-ip"):
        own_interface()


def test_horovod_is_the_release_whose_insides_are_known():
    assert importlib.metadata.version("horovod") == "0.28.1"


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (runner, ["RendezvousServer", "detect_nics"]),
        (http_server.RendezvousServer(verbose=0), ["_httpd", "_listen_thread", "_verbose"]),
        (runner.StaticAdapter(runner.MiniSettings(), num_workers=1), ["workers", "strategy"]),
        (strategy.BaseStrategy, ["workers"]),
        (runner.Coordinator, ["rendezvous"]),
        (worker.BaseHorovodWorker, ["execute", "start_executable", "hostname"]),
    ],
)
def test_horovod_has_each_name_that_is_reached_for(owner, names):
    for name in names:
        assert hasattr(owner, name), name


def test_the_module_that_starts_workers_looks_both_names_up_when_it_needs_them():
    """So that others in their place are used."""
    used = runner.Coordinator.establish_rendezvous.__code__.co_names
    assert "RendezvousServer" in used
    assert "detect_nics" in runner.StaticAdapter.start.__code__.co_names
    assert {"adapter"} <= set(runner.RayExecutor.start.__code__.co_names)
    assert {"coordinator", "strategy", "workers"} <= set(
        runner.StaticAdapter.start.__code__.co_names
    )


def test_an_executor_that_was_not_started_has_nothing_to_let_go_of():
    executor = PrivateExecutor(PrivateExecutor.create_settings(1), num_workers=1)
    assert (executor.begun(), executor.rendezvous) == ([], None)
    executor.close()
