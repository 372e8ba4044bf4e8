"""What the nodes of a Ray can hold, and which nodes its autoscaler may add.

Ray tells no program how far a cluster may grow. On a cluster of `ray up` the file that its
autoscaler was started with does, on the head. Where an autoscaler runs elsewhere, as under
KubeRay, all that is known is that there is one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from ucluster_tune.cluster.nodes import probes
from ucluster_tune.config.capacity import ClusterCapacity, NodeCapacity, NodesToCome
from ucluster_tune.trial.processes.nodes import Node, living_nodes

_LOGGER = logging.getLogger(__name__)
_LIMIT_S = 30.0


def capacity_watch() -> Callable[[], ClusterCapacity]:
    """Return what tells, each time anew, the nodes that are up and those that may come.

    Takes seconds, for the head is asked for its autoscaler; what it returns takes milliseconds.
    """
    told = _told_by_head([node for node in living_nodes() if node.is_head])

    def look() -> ClusterCapacity:
        nodes = living_nodes()
        found = tuple(NodeCapacity(node.n_cpus, node.n_gpus) for node in nodes)
        if told is None:
            return ClusterCapacity(found)
        if not isinstance(told, Mapping):
            return ClusterCapacity(found, is_open_ended=True)
        return ClusterCapacity(found, nodes_to_come(told, nodes))

    return look


def nodes_to_come(config: Mapping[str, Any], nodes: Sequence[Node]) -> tuple[NodesToCome, ...]:
    """Return what an autoscaler may add to the nodes that are up.

    Each type is given all that the limit of the whole cluster leaves, though they share it.

    Args:
        config: a cluster file as `ray up` completes it.
        nodes: that are up; which type one is of is told by its CPUs and GPUs.
    """
    n_all = int(config.get("max_workers") or 0)
    left = [NodeCapacity(node.n_cpus, node.n_gpus) for node in nodes if not node.is_head]
    n_more = max(0, n_all - len(left))
    types: Mapping[str, Any] = config.get("available_node_types") or {}
    with_size = {name: _size(settings) for name, settings in types.items()}
    found = []
    for name in sorted(types, key=lambda name: with_size[name] is None):  # those last
        size, n_missing = with_size[name], _most(config, name)
        while n_missing and left and (size is None or size in left):
            left.remove(size or left[0])
            n_missing -= 1
        if min(n_missing, n_more):
            found.append(NodesToCome(name, size, min(n_missing, n_more)))
    return tuple(found)


def _most(config: Mapping[str, Any], name: str) -> int:
    default = 0 if name == config.get("head_node_type") else config.get("max_workers")
    return int(config["available_node_types"][name].get("max_workers", default) or 0)


def _size(settings: Mapping[str, Any]) -> NodeCapacity | None:
    resources = settings.get("resources") or {}
    if "CPU" not in resources:
        return None
    return NodeCapacity(float(resources["CPU"]), float(resources.get("GPU", 0)))


def _told_by_head(head: Sequence[Node]) -> Any:
    """Return the autoscaler's file, None where there is none, text where that is not known."""
    if not head:
        return None
    address = ray.get_runtime_context().gcs_address
    with probes(head) as asked:
        try:
            return asked.autoscaler(head[0], address, _LIMIT_S)
        except ray.exceptions.RayError as error:
            _LOGGER.warning("the head does not tell whether it has an autoscaler: %s", error)
            return None
