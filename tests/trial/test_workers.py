"""The start of Horovod workers, its limits, and what is told when it fails."""

import gc
import os
import threading
import time
import warnings
from contextlib import contextmanager

import psutil
import pytest
import ray

from tests import small_study
from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment
from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.config.study import ResourcesConfig, StudyConfig
from ucluster_tune.errors import DataError, TrialError
from ucluster_tune.trial.evaluate import room_on_a_node
from ucluster_tune.trial.failures import StartError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:placement_group parameter is deprecated"),  # Horovod 0.28
    pytest.mark.filterwarnings("ignore:placement_group_.* parameter is deprecated"),
]


@pytest.fixture(scope="module")
def ray_on_two_cpus():
    """Ray, whose workers find this package and log nothing here."""
    prepare_environment()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", small_study.environment()["PYTHONPATH"])
        with embedded_ray(2):
            yield
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its pipes open
            gc.collect()


STARTING_THREAD = "start-workers"


def workers_of(jets, folder, **resources):
    from ucluster_tune.trial.processes.workers import HorovodWorkers

    study = StudyConfig.model_validate(small_study.small_study(jets))
    chosen = ResourcesConfig(workers_per_trial=2, **resources)
    return HorovodWorkers(trial_config_of(study), str(folder), chosen, ObjectiveConfig())


def worker_processes():
    """Those that live on: a process that was killed takes a moment on a busy machine."""
    children = psutil.Process().children(recursive=True)
    workers = [p for p in children if "HorovodWorker" in small_study.command_line(p)]
    _, alive = psutil.wait_procs([p for p in workers if small_study.is_alive(p)], timeout=10)
    return [process for process in alive if small_study.is_alive(process)]


def test_error_of_a_worker_at_its_start_is_told_as_it_is_and_not_tried_again(
    ray_on_two_cpus, jets_parquet, tmp_path
):
    jets = tmp_path / "jets"
    jets.mkdir()
    for file in jets_parquet.iterdir():
        os.link(file, jets / file.name)
    (jets / "train-00000.parquet").unlink()
    workers = workers_of(jets, tmp_path / "trial")
    with pytest.raises(DataError, match=r"train-00000\.parquet: missing"):
        workers.start()
    assert worker_processes() == []
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


@contextmanager
def closed_rendezvous(workers):
    """Close each server where the workers are to find each other, as soon as it listens."""
    closed: list[float] = []
    servers = set()
    is_over = threading.Event()

    def close():
        while not is_over.wait(0.01):
            adapter = getattr(workers._executor, "adapter", None)
            rendezvous = getattr(getattr(adapter, "coordinator", None), "rendezvous", None)
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
    ray_on_two_cpus, jets_parquet, tmp_path
):
    workers = workers_of(jets_parquet, tmp_path, start_timeout_s=60)
    with (
        closed_rendezvous(workers) as closed,
        pytest.raises(StartError, match="did not find each other in 3 attempts: worker"),
    ):
        workers.start()
    first, second, third = closed
    assert second - first > 2
    assert third - second > 4
    assert worker_processes() == []


def test_hanging_epoch_is_given_up(ray_on_two_cpus, jets_parquet, tmp_path):
    workers = workers_of(jets_parquet, tmp_path, epoch_timeout_s=0.05)
    workers.start()
    assert workers.restored() == []
    with pytest.raises(TrialError, match=r"waited 0\.05 s for an epoch; no answer of workers"):
        workers.run_epoch()
    assert worker_processes() == []


def test_start_that_takes_too_long_is_given_up_and_says_for_what(
    ray_on_two_cpus, jets_parquet, tmp_path
):
    workers = workers_of(jets_parquet, tmp_path, start_timeout_s=0.1)
    with pytest.raises(TrialError, match=r"waited 0\.1 s for the worker processes to start"):
        workers.start()
    assert worker_processes() == []
    assert STARTING_THREAD not in [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 20  # Ray counts a moment later
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2
