"""A Ray that runs already, joined for the time of a search: nothing of it is started or ended."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ucluster_tune.cluster.embedded import prepare_environment
from ucluster_tune.config.plan import Machine
from ucluster_tune.errors import MachineError


class RunningRay(Protocol):
    """What a search needs to know of the Ray that it runs on."""

    def refuse_dead(self) -> None:
        """Raise MachineError where Ray is gone."""


class JoinedRay:
    """A Ray of one or more nodes that this process has joined."""

    def refuse_dead(self) -> None:
        """Do nothing: Ray ends this process itself when its head is gone."""

    def machine(self) -> Machine:
        """Return what all living nodes have together."""
        import ray  # after its environment

        all_nodes: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no types
        return Machine(int(all_nodes.get("CPU", 0)), int(all_nodes.get("GPU", 0)))

    def in_words(self) -> str:
        """Return its size in words."""
        import ray  # after its environment

        machine = self.machine()
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types
        n_nodes = sum(bool(node["Alive"]) for node in nodes)
        nodes_in_words = f"{n_nodes} node{'s' * (n_nodes > 1)}"
        return f"{nodes_in_words}, {machine.n_cpus} CPUs, {machine.n_gpus} GPUs"


@contextmanager
def joined_ray(address: str) -> Iterator[JoinedRay]:
    """Join the Ray whose head is at `address` (host:port); leave it at the end.

    Raises:
        MachineError: it does not answer, is of another version, or refuses this machine's token.
    """
    prepare_environment(is_embedded=False)
    import ray  # after its environment

    if not logging.getLogger().handlers:  # nobody keeps a log
        logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(address=by_number(address), log_to_driver=False, configure_logging=False)
    except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
        raise MachineError(_why_not(address, error)) from error
    try:
        yield JoinedRay()
    finally:
        ray.shutdown()


def by_number(address: str) -> str:
    """Return the address with the number of its host, as this system knows that.

    Ray's own look-up asks a name server alone, and waits for minutes for a name of /etc/hosts.

    >>> by_number("localhost:6379"), by_number("no.such.host.invalid:6379"), by_number("auto")
    ('127.0.0.1:6379', 'no.such.host.invalid:6379', 'auto')
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host:
        return address
    try:
        return f"{socket.gethostbyname(host.strip('[]'))}:{port}"
    except OSError:
        return address


def _why_not(address: str, error: Exception) -> str:
    words = " ".join(str(error).split())
    if "uthenticat" in words or "token" in words.lower():
        return (
            f"the Ray at {address} refuses this machine: ~/.ray/auth_token is missing or is not"
            " the one that it was started with; copy it from the head, with RAY_AUTH_MODE=token"
        )
    return (
        f"the Ray at {address} cannot be joined: {words[:400]}; give HOST:PORT as `ray start"
        " --head` printed it, such as 10.0.0.1:6379, and look on that machine with `ray status`"
    )
