"""The nodes of the Ray that this process is connected to, and whether one of them is gone.

Ray counts a node as dead only once it has missed several health checks: a minute later where its
power was cut. Until then its processes can just not be reached.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import get_current_placement_group, placement_group_table

from ucluster_tune.storage.patience import wait_until
from ucluster_tune.trial.processes.ray_internals import HEAD_RESOURCE

VERDICT_TIMEOUT_S = 90.0  # Ray's default: five checks in a row of up to 13 s each
_POLL_S = 0.5


@dataclass(frozen=True)
class Node:
    """A living node, as Ray knows it.

    Attributes:
        id: Ray's, hexadecimal.
        name: its host name; with its address where another node has the same.
        is_here: whether this process runs on it.
    """

    id: str
    name: str
    host: str
    address: str
    n_cpus: float
    n_gpus: float
    is_head: bool
    is_here: bool


def resources_in_words() -> str:
    """Return what all nodes have together, and how much of it nobody uses now."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no types
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]  # Ray has no types
    return ", ".join(
        f"{there.get(key, 0):g} {key}s ({free.get(key, 0):g} free)" for key in ("CPU", "GPU")
    )


def living_nodes() -> list[Node]:
    """Return the nodes that are up, the head first."""
    here = ray.get_runtime_context().get_node_id()
    alive = _alive()
    hosts = [node["NodeManagerHostname"] for node in alive]
    addresses = [node["NodeManagerAddress"] for node in alive]
    found = []
    for node in alive:
        host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
        name = host if hosts.count(host) == 1 else f"{host} ({address})"
        if addresses.count(address) > 1:
            name = f"{host} ({node['NodeID'][:6]})"
        resources = node["Resources"]
        found.append(
            Node(
                id=node["NodeID"],
                name=name,
                host=host,
                address=address,
                n_cpus=float(resources.get("CPU", 0)),
                n_gpus=float(resources.get("GPU", 0)),
                is_head=HEAD_RESOURCE in resources,
                is_here=node["NodeID"] == here,
            )
        )
    return sorted(found, key=lambda node: (not node.is_head, node.name))


def living_node_ids() -> frozenset[str]:
    """Return the ids of all nodes that Ray counts as alive; none where this process has no Ray."""
    return frozenset(str(node["NodeID"]) for node in _alive())


def most_cpus_of_a_node() -> float:
    """Return the CPUs of the largest node that Ray counts as alive, 0.0 where there is none."""
    return max((float(node["Resources"].get("CPU", 0)) for node in _alive()), default=0.0)


def _alive() -> list[dict[str, Any]]:
    if not ray.is_initialized():
        return []
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types
    return [node for node in known if node["Alive"]]


def nodes_of_this_trial() -> frozenset[str]:
    """Return the ids of the nodes on which the calling process's placement group lies."""
    group = get_current_placement_group()
    if group is None:
        return frozenset()
    return frozenset(filter(None, placement_group_table(group)["bundles_to_node_id"].values()))


def lost_nodes(
    nodes: Set[str], limit_s: float = 0.0, is_over: Callable[[], bool] = lambda: False
) -> Set[str]:
    """Return those of `nodes` that are dead.

    Args:
        nodes: ids of nodes that lived.
        limit_s: how long to wait for the first to be counted as dead.
        is_over: tells that waiting is of no use any more.
    """
    lost: Set[str] = frozenset()

    def is_known() -> bool:
        nonlocal lost
        lost = nodes - living_node_ids()
        return bool(lost) or is_over()

    wait_until(is_known, limit_s, _POLL_S)
    return lost
