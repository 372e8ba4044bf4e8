import os

import pytest

from ucluster_tune.cluster.place import this_machine


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1,3", 3), ("GPU-1f,GPU-2a", 2)]
)
def test_gpus_are_those_that_this_process_may_use(monkeypatch, visible, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = this_machine()
    assert machine.n_gpus == count
    assert machine.n_cpus == len(os.sched_getaffinity(0))
