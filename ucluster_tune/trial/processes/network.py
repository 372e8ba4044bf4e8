"""Where the workers of a trial meet: at the addresses by which Ray knows its nodes, only there.

Left to itself, Horovod serves the list of who is who on every address of the machine, that of an
outer network too, and starts more such servers to look for an interface whose name all nodes
share. Ray knows one address of each node by which the others reach it. So the list is served there
alone, each worker uses the interface that has its own node's, and nothing needs to be looked for.
"""

import os
import socketserver
from collections.abc import Sequence
from typing import Any

import ray
from horovod.ray import RayExecutor, runner
from horovod.runner.http.http_server import (
    RendezvousHandler,
    RendezvousHTTPServer,
    RendezvousServer,
)
from horovod.runner.util.threads import in_thread

from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.host import interface_of


class PrivateExecutor(RayExecutor):  # type: ignore[misc]  # Horovod ships no types
    """Horovod's executor, whose workers meet at the addresses of their nodes."""

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Start the workers.

        Raises:
            MachineError: this node's address is on none of its interfaces.
        """
        # The module names both itself, and takes no others in any other way.
        runner.RendezvousServer = NodeRendezvous
        runner.detect_nics = _own_interface_alone
        super().start(*args, **kwargs)


class NodeRendezvous(RendezvousServer):  # type: ignore[misc]  # Horovod ships no types
    """The server that tells workers of each other, on this node's address alone."""

    def start(self, handler_cls: type = RendezvousHandler) -> int:
        """Start to listen; return the port, which the system chose."""
        self._httpd = _Server((node_address(), 0), handler_cls, self._verbose)
        self._listen_thread = in_thread(target=self._httpd.serve_forever)
        port: int = self._httpd.server_address[1]
        return port

    def stop(self) -> None:
        """Stop, and close the socket, which Horovod's own leaves open."""
        if self._listen_thread is not None:
            super().stop()
            self._httpd.server_close()


class _Server(RendezvousHTTPServer):  # type: ignore[misc]  # Horovod ships no types
    def server_bind(self) -> None:
        """Bind without asking for the name of the address, for which a name server may be slow."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


def node_address() -> str:
    """Return the address by which Ray's other nodes reach the one that this process runs on."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def own_interface() -> str:
    """Return the network interface that has the address of the node that this process runs on.

    Raises:
        MachineError: none has.
    """
    address = node_address()
    name = interface_of(address)
    if name is None:
        raise MachineError(
            f"{address}, by which Ray knows this node, is on none of its network interfaces: start"
            " Ray there with --node-ip-address of one"
        )
    return name


def use_own_interface(_executable: object) -> None:
    """Have Horovod, in this worker's process, use the interface that has its node's address."""
    name = own_interface()
    os.environ.update({"HOROVOD_GLOO_IFACE": name, "NCCL_SOCKET_IFNAME": name})


def _own_interface_alone(*_args: object, **_kwargs: object) -> Sequence[str]:
    """Stand for Horovod's search of an interface; each worker sets its own later."""
    return [own_interface()]
