"""All that reaches into Horovod 0.28.1, which nobody maintains and which stays as it is.

Each name that is not documented, and its reason:

- `runner.RendezvousServer`, `runner.detect_nics`: the module names both itself, and takes no
  others in any other way. Left to itself, Horovod serves the list of who is who on every address
  of the machine, that of an outer network too, and starts more such servers to look for an
  interface whose name all nodes share. Ray knows one address of each node by which the others
  reach it. So the list is served there alone, each worker uses the interface that has its own
  node's, and nothing needs to be looked for.
- `RendezvousServer._httpd`, `_listen_thread`, `_verbose`: to listen on one address, and to close
  the socket, which Horovod leaves open.
- `RayExecutor.adapter`, its `strategy.workers` and `coordinator.rendezvous`: what was begun when
  a start fails or takes too long; Horovod's `shutdown` only drops its references to processes.
- `BaseHorovodWorker.execute`, `start_executable`, `hostname` of its `workers`: Horovod's own
  calls wait for all workers without limit, and one that fails keeps the others waiting.
"""

import os
import socketserver
from collections.abc import Callable, Sequence
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
        runner.RendezvousServer = NodeRendezvous
        runner.detect_nics = _own_interface_alone
        super().start(*args, **kwargs)

    def begun(self) -> list[Any]:
        """Return the actors of the workers that were begun so far, also amid a start."""
        strategy = getattr(getattr(self, "adapter", None), "strategy", None)
        return list(getattr(strategy, "workers", None) or [])

    def make(self, cls: type, *arguments: object) -> list[Any]:
        """Return references to the making of an object in each worker, which it keeps."""
        workers = self.adapter.workers
        return [worker.start_executable.remote(cls, list(arguments)) for worker in workers]

    def ask(self, function: Callable[[Any], object]) -> list[Any]:
        """Return references to what a function gives in each worker of the object made there."""
        return [worker.execute.remote(function) for worker in self.adapter.workers]

    def ping(self, actor: Any) -> Any:
        """Return a reference to an answer of a worker, for which it needs to do nothing."""
        return actor.hostname.remote()

    @property
    def rendezvous(self) -> "NodeRendezvous | None":
        """The server where workers find each other, None before it is there."""
        coordinator = getattr(getattr(self, "adapter", None), "coordinator", None)
        server: NodeRendezvous | None = getattr(coordinator, "rendezvous", None)
        return server

    def close(self) -> None:
        """Let go of what a start has left, whole or not; ends no process."""
        if self.rendezvous is not None:
            self.rendezvous.stop()
        if hasattr(self, "adapter"):
            self.shutdown()


class NodeRendezvous(RendezvousServer):  # type: ignore[misc]  # Horovod ships no types
    """The server that tells workers of each other, on this node's address alone."""

    def start(self, handler_cls: type = RendezvousHandler) -> int:
        """Start to listen; return the port, which the system chose."""
        self._httpd = _Server((node_address(), 0), handler_cls, self._verbose)
        self._listen_thread = in_thread(target=self._httpd.serve_forever)
        port: int = self._httpd.server_address[1]
        return port

    def stop(self) -> None:
        """Stop, and close the socket."""
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
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]  # Ray has no types


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
