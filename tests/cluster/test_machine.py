import os

import pytest

from ucluster_tune.cluster.place import this_machine


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        *((None, 4), ("", 0), ("-1", 0), ("0", 1), ("0,1,3", 3), ("GPU-1f,GPU-2a", 2)),
        *(("0,1,2,3,4,5", 4), ("MIG-1,MIG-2,MIG-3,MIG-4,MIG-5", 5)),
    ],
)
@pytest.mark.parametrize("place", ["proc/driver/nvidia/gpus/0000:0{}:00.0", "dev/nvidia{}"])
def test_gpus_are_those_that_this_process_may_use(monkeypatch, tmp_path, place, visible, count):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for number in range(4):
        (tmp_path / place.format(number)).mkdir(parents=True)
    machine = this_machine(tmp_path)
    assert machine.n_gpus == count
    assert machine.n_cpus == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("visible", ["0", "0,1", "GPU-1f", "MIG-1"])
def test_a_variable_makes_no_gpu_where_there_is_none(monkeypatch, tmp_path, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine(tmp_path).n_gpus == 0
