"""The start of Horovod workers, its limits, and what is told when it fails."""

import gc
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from tests import small_study
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.errors import DataError, TrialError
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.trial.failures import StartError
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.measurement import room_on_a_node
from ucluster_tune.trial.training_task import epochs_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:placement_group parameter is deprecated"),  # Horovod 0.28
    pytest.mark.filterwarnings("ignore:placement_group_.* parameter is deprecated"),
]


STARTING_THREAD = "start-workers"


def workers_of(folder, **resources):
    from ucluster_tune.trial.processes.workers import HorovodWorkers

    return HorovodWorkers(ResourcesConfig(workers_per_trial=2, **resources), str(folder))


def test_error_of_a_worker_is_told_as_it_is_and_ends_all_of_them(
    ray_on_two_cpus, jets_parquet, tmp_path
):
    jets = tmp_path / "jets"
    jets.mkdir()
    for file in jets_parquet.iterdir():
        os.link(file, jets / file.name)
    (jets / "train-00000.parquet").unlink()
    workers = workers_of(tmp_path / "trial")
    workers.start()
    with pytest.raises(DataError, match=r"train-00000\.parquet: missing"):
        workers.begin(small_study.task_of(jets, tmp_path / "trial"))
    assert small_study.worker_processes() == []
    assert (tmp_path / "trial" / "workers.log").read_text().count("rank 0 of 2") == 1


def test_an_evaluation_gets_all_cpus_of_a_trial_where_a_node_has_them_free_and_few_otherwise(
    ray_on_two_cpus,
):
    @ray.remote
    def group_of_task():
        return ray.util.get_current_placement_group()

    with room_on_a_node(64.0, least_cpus=1.0) as (room, n_cpus):
        assert n_cpus == 2.0, "no node has more"
        assert ray.get(group_of_task.options(**room).remote(), timeout=30) is not None
        with room_on_a_node(2.0, least_cpus=1.0, limit_s=0.5) as (small_room, n_few):
            assert (small_room, n_few) == ({"num_cpus": 1.0}, 1.0)
    with room_on_a_node(1.0, least_cpus=1.0) as (room, _):
        assert ray.get(group_of_task.options(**room).remote(), timeout=30) is None


TIMES = ("seconds", "jets_per_second")


@pytest.fixture(scope="module")
def in_turn(ray_on_two_cpus, jets_parquet, tmp_path_factory):
    """Two trainings, each before and after the other one, in processes that have no other."""
    folder = tmp_path_factory.mktemp("in_turn")
    other_jets = small_study.write_small_dataset(folder / "jets", first=60)
    sections = {
        "small": {"jets": jets_parquet, "model": {"dropout": 0.1}},
        "wide": {"jets": other_jets, "model": {"second_widths": [8, 6], "n_neighbors": 4}},
    }

    def kept_in_memory(_worker):
        """How much of a training a worker's process still has."""
        import tensorflow as tf

        from ucluster_tune.data.format.packed import PackedJets
        from ucluster_tune.training.trainer import Trainer

        kinds = (Trainer, PackedJets, tf.Variable, tf.types.experimental.ConcreteFunction)
        threads = [
            t.name for t in threading.enumerate() if t.name.startswith(("read ", "send-log"))
        ]
        return [sum(isinstance(o, kind) for o in gc.get_objects()) for kind in kinds] + threads

    found = {}
    for order in (("small", "wide"), ("wide", "small")):
        workers = workers_of(folder / order[0] / "first")
        workers.start()
        try:
            for place, name in zip(("first", "second"), order, strict=True):
                task = small_study.task_of(folder=folder / name / place, **sections[name])
                records = list(epochs_of(task, workers))
                processes = small_study.worker_processes()
                found[name, place] = SimpleNamespace(
                    folder=Path(task.folder),
                    records=[
                        {k: v for k, v in asdict(r).items() if k not in TIMES} for r in records
                    ],
                    processes={process.pid for process in processes},
                    open_files=[file.path for p in processes for file in p.open_files()],
                    kept=workers.ask(kept_in_memory, 60, "what is left"),
                )
        finally:
            workers.kill()
    return found


@pytest.mark.parametrize("name", ["small", "wide"])
def test_processes_that_trained_before_give_the_numbers_of_fresh_ones(in_turn, name):
    first, second = in_turn[name, "first"], in_turn[name, "second"]
    assert first.processes.isdisjoint(second.processes)
    assert [record["epoch"] for record in first.records] == [1, 2, 3]
    assert first.records == second.records
    fresh, used = (
        read_checkpoint(TrialFiles(run.folder).checkpoint(3)) for run in (first, second)
    )
    for array in ("parameters", "averages", "first_moment", "second_moment"):
        assert np.array_equal(getattr(fresh, array), getattr(used, array)), array


@pytest.mark.parametrize(("name", "other"), [("small", "wide"), ("wide", "small")])
def test_nothing_of_a_training_is_left_in_the_processes_after_it(in_turn, name, other):
    first, second = in_turn[name, "first"], in_turn[other, "second"]
    assert first.processes == second.processes
    assert len(first.processes) == 2
    for run in (first, second):
        assert run.kept == [[0, 2, 0, 0], [0, 2, 0, 0]], "jets of both splits, and nothing else"
        log = (run.folder / "workers.log").read_text()
        assert log.count("epoch 3: ") == log.count("rank 1 of 2 on ") == 1
        assert {line.split()[2] for line in log.splitlines() if " rank " in line} == {
            str(pid) for pid in run.processes
        }
        for path in run.open_files:
            assert not path.startswith(str(run.folder.parents[1])), path


@contextmanager
def closed_rendezvous(workers):
    """Close each server where the workers are to find each other, as soon as it listens."""
    closed: list[float] = []
    servers = set()
    is_over = threading.Event()

    def close():
        while not is_over.wait(0.01):
            rendezvous = getattr(workers._executor, "rendezvous", None)
            server = getattr(rendezvous, "_httpd", None)
            if server is not None and server not in servers:
                server.shutdown()
                server.server_close()
                servers.add(server)
                closed.append(time.monotonic())

    thread = threading.Thread(target=close)
    thread.start()
    try:
        yield closed
    finally:
        is_over.set()
        thread.join()


@pytest.mark.faults
def test_workers_that_do_not_find_each_other_are_started_again_after_growing_pauses(
    ray_on_two_cpus, tmp_path
):
    workers = workers_of(tmp_path, start_timeout_s=60)
    with (
        closed_rendezvous(workers) as closed,
        pytest.raises(StartError, match="did not find each other in 3 attempts: worker"),
    ):
        workers.start()
    first, second, third = closed
    assert second - first > 2
    assert third - second > 4
    assert small_study.worker_processes() == []


def test_hanging_epoch_is_given_up(ray_on_two_cpus, jets_parquet, tmp_path):
    workers = workers_of(tmp_path, epoch_timeout_s=0.05)
    workers.start()
    ray_on_two_cpus.hold_after(0)
    assert workers.begin(small_study.task_of(jets_parquet, tmp_path)) == []
    with pytest.raises(TrialError, match=r"waited 0\.05 s for an epoch; no answer of workers"):
        workers.run_epoch()
    ray_on_two_cpus.open()
    assert small_study.worker_processes() == []


def test_start_that_takes_too_long_is_given_up_and_says_for_what(ray_on_two_cpus, tmp_path):
    workers = workers_of(tmp_path, start_timeout_s=0.1)
    with pytest.raises(TrialError, match=r"waited 0\.1 s for the worker processes to start"):
        workers.start()
    assert small_study.worker_processes() == []
    assert STARTING_THREAD not in [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 60  # Ray counts a moment later
    while (free := ray.available_resources()).get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert free.get("CPU") == 2
