"""Nodes of a cluster that go away under a trial: it goes on elsewhere, at no charge."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.gate import Gate
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.status import read_study, study_status

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_EPOCHS = 14
# A node is dead after 2 s, not after 15.
QUICK_VERDICT = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 4,
}


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


@pytest.fixture
def cluster(gate, monkeypatch):
    """A head without room for workers; nodes come and go."""
    from ray.cluster_utils import Cluster

    for name, value in gate.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UCLUSTER_TUNE_LOCAL")  # here the search joins a Ray
    cluster = Cluster()
    cluster.add_node(
        num_cpus=0,
        node_ip_address="127.0.0.1",
        include_dashboard=False,
        object_store_memory=80_000_000,
        _system_config=QUICK_VERDICT,
    )
    yield cluster
    cluster.shutdown()


def add_node(cluster):
    return cluster.add_node(
        num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=80_000_000
    )


def processes_of(node):
    (raylet,) = node.all_processes["raylet"]
    return psutil.Process(raylet.process.pid).children(recursive=True)


def has_trainable(node):
    return any("ResourceTrainable" in small_study.command_line(p) for p in processes_of(node))


def node_of_trainable(nodes):
    """The only one; a process that changes its title has none for a moment."""
    deadline = time.monotonic() + 10
    while len(found := [node for node in nodes if has_trainable(node)]) != 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found[0]


def cut_power(cluster, node):
    processes = processes_of(node)
    cluster.remove_node(node, allow_graceful=False)
    for process in processes:
        if process.is_running():
            process.kill()


def wait_until(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.2)


def test_trial_goes_on_elsewhere_when_its_nodes_are_lost_and_no_retry_is_used_up(
    cluster, gate, tmp_path, jets_parquet, with_store
):
    nodes = [add_node(cluster), add_node(cluster)]
    file = small_study.write_study(
        tmp_path / "small.yaml",
        jets_parquet,
        budget={"n_trials": 2},
        training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
        failures={"max_retries": 0},
    )
    paths = StudiesFolder(with_store(tmp_path / "studies")).study("small")

    def trial():
        return read_study(paths).trials["0001"]

    running = small_study.RunningCommand(
        tmp_path,
        "run",
        file,
        "--studies-dir",
        paths.root.parent,
        "--address",
        cluster.address,
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # all is on the loopback interface
        **gate.variables,
    )
    gate.hold_after(5, "0001")
    gate.hold_after(1, "0002")
    try:
        running.wait_for("trial 0001 epoch 5/")
        # First the node of a worker, then that of the trial's own process.
        for number, is_own in enumerate((False, True), start=1):
            own = node_of_trainable(nodes)
            (lost,) = (node for node in nodes if (node is own) == is_own)
            cut_power(cluster, lost)
            running.wait_for("trial 0001 goes on: a node on which it ran was lost")
            wait_until(lambda number=number: trial().n_lost_nodes == number)
            (told,) = study_status(paths)["trials"]
            assert (told["outcome"], told["is_waiting"]) == ("running", True)
            nodes = [node for node in nodes if node is not lost] + [add_node(cluster)]
            gate.hold_after(5 + 3 * number, "0001")
            running.wait_for(f"trial 0001 epoch {5 + 3 * number}/")
            wait_until(lambda number=number: trial().epochs == 5 + 3 * number)
            assert not trial().is_waiting
        # Two more are room for another trial.
        assert list(read_study(paths).trials) == ["0001"]
        nodes += [add_node(cluster), add_node(cluster)]
        running.wait_for("Trials at a time: 2 in place of 1")
        wait_until(lambda: list(read_study(paths).trials) == ["0001", "0002"])
        assert trial().outcome == "running"
        running.wait_for("trial 0002 epoch 1/")
        gate.hold_after(N_EPOCHS, "0001")
        wait_until(lambda: trial().outcome == "complete")
        running.process.send_signal(signal.SIGINT)
        running.wait_for("Stopping after the running epochs")
        gate.open()
        assert running.end() == 130
    finally:
        running.kill()
    record = assert_all_agrees(paths.root.parent, "small")
    ended = record.trials["0001"]
    assert (ended.outcome, ended.n_lost_nodes, ended.retry_causes) == ("complete", 2, [])
    assert (ended.restored_epochs, ended.n_epochs_again) == ([5, 8], 0)
    assert "nodes lost twice" in running.out.read_text()
    assert Path(paths.log).read_text().count("node_lost") == 2
