"""The nodes of a Ray cluster that a trial runs on, and whether one of them is gone.

Ray counts a node as dead only once it has missed several health checks: a minute later where its
power was cut. Until then its processes can just not be reached.
"""

import time
from collections.abc import Callable, Set

import ray
from ray.util import get_current_placement_group, placement_group_table

VERDICT_TIMEOUT_S = 90.0  # Ray's default: five checks in a row of up to 13 s each
_POLL_S = 0.5


def living_nodes() -> frozenset[str]:
    """Return the ids of all nodes that Ray counts as alive; none where this process has no Ray."""
    if not ray.is_initialized():
        return frozenset()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's, partly typed
    return frozenset(str(node["NodeID"]) for node in nodes if node["Alive"])


def most_cpus_of_a_node() -> float:
    """Return the CPUs of the largest node that Ray counts as alive."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's, partly typed
    return max((float(n["Resources"].get("CPU", 0)) for n in nodes if n["Alive"]), default=0.0)


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
    deadline = time.monotonic() + limit_s
    while True:
        lost = nodes - living_nodes()
        if lost or is_over() or time.monotonic() >= deadline:
            return lost
        time.sleep(_POLL_S)
