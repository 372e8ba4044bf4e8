"""How many trials run at a time, while nodes come and go."""

import pytest

from tests.study_events import study_config
from ucluster_tune.config.capacity import ClusterCapacity, NodeCapacity
from ucluster_tune.config.plan import fit_study
from ucluster_tune.errors import MachineError
from ucluster_tune.search.room import Room

NODE = NodeCapacity(2, 0)


class Nodes:
    """Nodes that come and go, and a clock that goes on where it is told to."""

    def __init__(self):
        self.nodes, self.fault, self.now_s, self.said = (NODE,), None, 0.0, []

    def monotonic(self):
        return self.now_s

    def look(self):
        if self.fault:
            raise self.fault
        return ClusterCapacity(self.nodes)

    def room(self, workers_per_trial=1, **resources):
        resources["workers_per_trial"] = workers_per_trial
        study = study_config(budget={"n_trials": 5}, resources=resources)
        return Room(fit_study(study, self.look()), self.look, self.said.append)


@pytest.fixture
def nodes(monkeypatch):
    nodes = Nodes()
    monkeypatch.setattr("ucluster_tune.search.room.time", nodes)
    return nodes


def test_room_grows_and_shrinks_with_the_nodes_and_that_is_said_once(nodes):
    room = nodes.room()
    assert room() == 2
    nodes.nodes = (NODE, NODE)
    assert room() == 2  # nodes are looked at every 5 s
    nodes.now_s += 6
    assert room() == 4
    nodes.nodes = (NODE, NODE, NODE)
    nodes.now_s += 6
    assert (room(), room()) == (5, 5)  # trials that there are at all
    nodes.nodes = ()
    nodes.now_s += 6
    assert room() == 1
    assert nodes.said == [
        "Trials at a time: 4 in place of 2, 2 nodes of 2 CPUs, 0 GPUs",
        "Trials at a time: 5 in place of 4, 3 nodes of 2 CPUs, 0 GPUs",
        "Trials at a time: 1 in place of 5, no node",
    ]


def test_nodes_that_cannot_be_looked_at_change_nothing(nodes):
    room = nodes.room(max_concurrent_trials=1)
    nodes.fault = RuntimeError("the head does not answer")
    nodes.now_s += 6
    assert room() == 1
    assert nodes.said == []


def test_trial_that_does_not_fit_is_refused_at_the_start(nodes):
    with pytest.raises(MachineError, match="a trial takes 3 CPUs"):
        nodes.room(cpus_per_worker=3.0)


def test_how_many_workers_a_trial_gets_where_that_was_left_open_is_said_with_the_reason(nodes):
    nodes.room(workers_per_trial="auto")
    assert nodes.said == [
        "Workers of a trial: 1 (2 trials side by side are faster than several workers each)"
    ]
