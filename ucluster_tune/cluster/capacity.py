"""What the nodes of a Ray can hold, and whether its autoscaler may add some."""

import logging
from collections.abc import Callable

import ray

from ucluster_tune.cluster.nodes import probes
from ucluster_tune.config.capacity import ClusterCapacity, NodeCapacity
from ucluster_tune.trial.processes.nodes import living_nodes

_LOGGER = logging.getLogger(__name__)
_LIMIT_S = 30.0


def capacity_watch() -> Callable[[], ClusterCapacity]:
    """Return what tells, each time anew, the nodes that are up, and whether others may come.

    Takes seconds, for the head is asked how far its cluster may grow; what it returns takes
    milliseconds.
    """
    n_workers_at_most = _n_workers_at_most()

    def look() -> ClusterCapacity:
        nodes = living_nodes()
        n_workers = sum(not node.is_head for node in nodes)
        return ClusterCapacity(
            tuple(NodeCapacity(node.n_cpus, node.n_gpus) for node in nodes),
            may_grow=n_workers < n_workers_at_most,
        )

    return look


def _n_workers_at_most() -> float:
    """Return how many nodes the autoscaler of this Ray may have beside the head, 0 without one."""
    heads = [node for node in living_nodes() if node.is_head]
    if not heads:
        return 0
    with probes(heads) as asked:
        try:
            return asked.n_workers_at_most(heads[0], _LIMIT_S)
        except ray.exceptions.RayError as error:
            _LOGGER.warning("the head does not tell whether it has an autoscaler: %s", error)
            return 0
