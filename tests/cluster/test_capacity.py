"""What a cluster may grow to, read from the file that its autoscaler was started with."""

from ucluster_tune.cluster.capacity import nodes_to_come
from ucluster_tune.config.capacity import NodeCapacity, NodesToCome
from ucluster_tune.trial.processes.nodes import Node

GPU_WORKER = NodeCapacity(8, 1)
AWS = {
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 2}},
        "gpu": {"resources": {"CPU": 8, "GPU": 1, "accelerator_type:T4": 1}, "max_workers": 4},
        "large": {"resources": {"CPU": 64}, "max_workers": 2},
    },
}


def node(n_cpus, n_gpus=0, *, is_head=False):
    return Node("id", "name", "name", "10.0.0.1", n_cpus, n_gpus, is_head, False)


HEAD = node(2, is_head=True)


def test_each_type_may_come_as_often_as_its_limit_says():
    assert nodes_to_come(AWS, [HEAD]) == (
        NodesToCome("gpu", GPU_WORKER, 4),
        NodesToCome("large", NodeCapacity(64, 0), 2),
    )


def test_nodes_that_are_up_are_told_by_their_size_and_come_no_more():
    up = [HEAD, node(8, 1), node(8, 1), node(64)]
    assert nodes_to_come(AWS, up) == (
        NodesToCome("gpu", GPU_WORKER, 2),
        NodesToCome("large", NodeCapacity(64, 0), 1),
    )


def test_limit_of_the_whole_cluster_holds():
    up = [HEAD, *[node(8, 1)] * 3, node(3), node(3)]
    assert nodes_to_come(AWS, up) == (
        NodesToCome("gpu", GPU_WORKER, 1),
        NodesToCome("large", NodeCapacity(64, 0), 1),
    )
    assert nodes_to_come(AWS, [*up, node(3)]) == ()


def test_type_without_a_limit_has_that_of_the_cluster_and_a_head_none():
    types = {"head": {"resources": {"CPU": 2}}, "worker": {"resources": {"CPU": 4}}}
    config = {**AWS, "available_node_types": types}
    assert nodes_to_come(config, [HEAD]) == (NodesToCome("worker", NodeCapacity(4, 0), 6),)


def test_machines_of_unknown_size_come_where_some_are_not_up():
    """As Ray completes a file for machines reached by ssh."""
    local = {
        "max_workers": 2,
        "head_node_type": "local.cluster.node",
        "available_node_types": {"local.cluster.node": {"resources": {}, "max_workers": 2}},
    }
    assert nodes_to_come(local, [HEAD, node(16, 2), node(4)]) == ()
    assert nodes_to_come(local, [HEAD, node(16, 2)]) == (
        NodesToCome("local.cluster.node", None, 1),
    )
