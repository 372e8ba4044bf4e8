"""The nodes of a Ray cluster that a trial runs on, and whether one of them is gone.

Ray counts a node as dead only once it has missed several health checks: a minute later where its
power was cut. Until then its processes can just not be reached.
"""

import time
from collections.abc import Callable, Set
from typing import Any

import ray
from ray.util import get_current_placement_group, placement_group_table

VERDICT_TIMEOUT_S = 90.0  # Ray's default: five checks in a row of up to 13 s each
_POLL_S = 0.5


def living_node_ids() -> frozenset[str]:
    """Return the ids of all nodes that Ray counts as alive; none where this process has no Ray."""
    return frozenset(str(node["NodeID"]) for node in _living_nodes())


def most_cpus_of_a_node() -> float:
    """Return the CPUs of the largest node that Ray counts as alive, 0.0 where there is none."""
    return max((float(node["Resources"].get("CPU", 0)) for node in _living_nodes()), default=0.0)


def _living_nodes() -> list[dict[str, Any]]:
    if not ray.is_initialized():
        return []
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's, partly typed
    return [node for node in nodes if node["Alive"]]


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
        lost = nodes - living_node_ids()
        if lost or is_over() or time.monotonic() >= deadline:
            return lost
        time.sleep(_POLL_S)
