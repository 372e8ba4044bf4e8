"""How many trials fit nodes at a time: of one machine, or of a cluster that may grow.

Pure arithmetic on numbers that others gathered; knows nothing of Ray.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ucluster_tune.config.study import ResourcesConfig

_AS_MANY_AS_LIKED = 10**9


@dataclass(frozen=True)
class NodeCapacity:
    """What trials can use of one node."""

    n_cpus: float
    n_gpus: float

    def in_words(self) -> str:
        """Return the numbers in words.

        >>> NodeCapacity(8, 1).in_words()
        '8 CPUs, 1 GPUs'
        """
        return f"{self.n_cpus:g} CPUs, {self.n_gpus:g} GPUs"


@dataclass(frozen=True)
class ClusterCapacity:
    """All nodes that trials can run on.

    Attributes:
        nodes: those that are there.
        may_grow: whether an autoscaler may add others, of whatever size.
    """

    nodes: tuple[NodeCapacity, ...]
    may_grow: bool = False

    @property
    def is_one_machine(self) -> bool:
        """Whether there is one node, and none to come."""
        return len(self.nodes) == 1 and not self.may_grow

    @property
    def n_cpus(self) -> float:
        """Of all nodes that are there."""
        return math.fsum(node.n_cpus for node in self.nodes)

    @property
    def n_gpus(self) -> float:
        """Of all nodes that are there."""
        return math.fsum(node.n_gpus for node in self.nodes)

    def in_words(self) -> str:
        """Return all nodes in words, equal ones together.

        >>> large = NodeCapacity(8, 1)
        >>> ClusterCapacity((NodeCapacity(4, 0), large, large)).in_words()
        '1 node of 4 CPUs, 0 GPUs; 2 nodes of 8 CPUs, 1 GPUs'
        """
        parts = [
            f"{count} node{'s' * (count > 1)} of {node.in_words()}"
            for node, count in Counter(self.nodes).items()
        ]
        if self.may_grow:
            parts.append("and what its autoscaler may add")
        return "; ".join(parts) or "no node"


def n_trials_at_a_time(resources: ResourcesConfig, nodes: Sequence[NodeCapacity]) -> int:
    """Return how many trials run at a time on nodes that are otherwise empty.

    A worker is on one node. Without `strict` Ray places workers wherever there is room.

    >>> two = ResourcesConfig(workers_per_trial=2)
    >>> n_trials_at_a_time(two, [NodeCapacity(3, 0), NodeCapacity(3, 0)])
    3
    >>> strict = two.model_copy(update={"placement": "strict_pack"})
    >>> n_trials_at_a_time(strict, [NodeCapacity(3, 0), NodeCapacity(3, 0)])
    2
    """
    n_workers = resources.n_workers
    rooms = [
        min(
            how_often(node.n_cpus, resources.cpus_per_worker),
            how_often(node.n_gpus, resources.gpus_per_worker),
        )
        for node in nodes
    ]
    if resources.placement == "strict_pack":
        return sum(room // n_workers for room in rooms)
    most = sum(rooms) // n_workers
    if resources.placement == "strict_spread":  # a node has one worker of a trial at most
        while most and sum(min(room, most) for room in rooms) < n_workers * most:
            most = sum(min(room, most) for room in rooms) // n_workers
    return most


def how_often(available: float, needed: float) -> int:
    """Return how often what is needed fits; thirds that add up to almost one count as one."""
    return math.floor(available / needed + 1e-6) if needed else _AS_MANY_AS_LIKED
