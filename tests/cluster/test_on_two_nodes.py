"""A Ray of two nodes with more GPUs than exist: what is checked there, and who gets which GPU."""

import gc
import json
import re
import subprocess
import time
import warnings
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests import small_study
from tests.models.test_prediction import make_model
from tests.small_datasets import made_up_jets, write_tables
from ucluster_tune.cli.main import main
from ucluster_tune.cluster.embedded import prepare_environment
from ucluster_tune.config.capacity import NodeCapacity
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.data.making.preparation import CACHE_VARIABLE
from ucluster_tune.data.making.zenodo import ADDRESS_VARIABLE
from ucluster_tune.errors import MachineError
from ucluster_tune.models.saved import write_model
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.status import read_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_GPUS = 4  # that Ray counts; no machine for tests has one
ON_GPUS = ResourcesConfig(workers_per_trial=2, gpus_per_worker=1.0)


@pytest.fixture(scope="module")
def address():
    """The address of a head of one CPU, beside a node of four CPUs and as many GPUs."""
    prepare_environment()
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", small_study.environment()["PYTHONPATH"])
        common: dict[str, Any] = {
            "node_ip_address": "127.0.0.1",
            "object_store_memory": 80_000_000,
        }
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1, include_dashboard=False, **common)
            cluster.add_node(num_cpus=4, num_gpus=N_GPUS, **common)
            yield cluster.address
        finally:
            cluster.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def joined(address):
    """This process, joined to it."""
    from ucluster_tune.cluster.connection import joined_ray

    with joined_ray(address):
        yield


def test_capacity_is_that_of_each_node(joined):
    from ucluster_tune.cluster.capacity import capacity_watch

    found = capacity_watch()()
    assert sorted(found.nodes, key=lambda node: node.n_cpus) == [
        NodeCapacity(1, 0),
        NodeCapacity(4, N_GPUS),
    ]
    assert not found.may_grow


def test_quick_check_takes_seconds_and_says_all_that_is_wrong_at_once(
    joined, jets_parquet, tmp_path
):
    from ucluster_tune.cluster.fitness.checks import CheckRequest, quick_check

    places = {"studies": str(tmp_path / "studies"), "datasets": str(tmp_path / "cache" / "made")}
    quick_check(CheckRequest(data=str(jets_parquet), resources=ResourcesConfig(), **places))
    assert list(tmp_path.iterdir()) == []
    began = time.monotonic()
    with pytest.raises(MachineError) as refused:
        quick_check(CheckRequest(str(tmp_path), str(tmp_path / "no_jets"), ON_GPUS))
    assert time.monotonic() - began < 15  # 2 s where nothing else runs
    head, *told = str(refused.value).splitlines()
    assert head == "the cluster is not fit for this search: 2 faults"
    assert "data set" in told[0]
    assert "no such folder" in told[0]
    assert f"GPUs: Ray counts {N_GPUS}, the system has 0" in told[1]
    assert "resources.cpu_fallback" in told[1]


def test_check_has_one_row_a_node_and_check_as_json(address, jets_parquet, tmp_path):
    file = small_study.write_study(
        tmp_path / "gpus.yaml", jets_parquet, resources={"gpus_per_worker": 1.0}
    )
    options = ("--address", address, "--studies-dir", str(tmp_path / "studies"), "--json")
    result = small_study.call(
        "cluster", "check", file, *options, variables=small_study.ON_LOOPBACK
    )
    assert result.returncode == 1, result.stderr
    document = json.loads(result.stdout)
    assert not document["ok"]
    assert len(document["nodes"]) == 2
    rows = document["checks"]
    places = [(row["node"], row["check"]) for row in rows]
    assert len(set(places)) == len(places)
    for check in ("Horovod", "host name", "studies folder", "data set", "training"):
        assert {node for node, other in places if other == check} == set(document["nodes"])
    (fault,) = [row for row in rows if not row["ok"]]
    assert fault["check"] == "GPUs"
    assert fault["found"] == f"Ray counts {N_GPUS}, TensorFlow sees 0"
    assert fault["remedy"]
    (room,) = [row["found"] for row in rows if row["check"] == "resources"]
    assert room.startswith("1 trial at a time on ")
    assert not (tmp_path / "studies").exists()


def run_on(address, folder, jets, variables=MappingProxyType({}), **resources):
    file = small_study.write_study(
        folder / "gpus.yaml",
        jets,
        budget={"n_trials": 2},
        resources={"gpus_per_worker": 1.0, **resources},
    )
    return small_study.call(
        *("run", file, "--address", address, "--studies-dir", folder / "studies"),
        variables=small_study.ON_LOOPBACK | variables,
    )


def test_search_on_gpus_that_the_system_lacks_is_refused_before_jets_are_fetched(
    address, tmp_path
):
    nobody = {ADDRESS_VARIABLE: "http://127.0.0.1:1", CACHE_VARIABLE: str(tmp_path / "cache")}
    result = run_on(address, tmp_path, "10.5281/zenodo.3602254", nobody)
    assert result.returncode == 1
    assert result.stderr.startswith(
        f"Running on the Ray at {address}: 2 nodes, 5 CPUs, {N_GPUS} GPUs (as --address {address}"
        " says)\n"
    )
    assert f"Ray counts {N_GPUS}, the system has 0" in result.stderr
    assert "resources.cpu_fallback" in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"gpus.yaml"}


@pytest.fixture(scope="module")
def two_trials_at_a_time(address, jets_parquet, tmp_path_factory, with_store):
    """The files of a search of two trials, two workers each with a GPU, on CPUs in truth."""
    folder = tmp_path_factory.mktemp("gpus")
    with_store(folder / "studies")
    result: subprocess.CompletedProcess[str] = run_on(
        address, folder, jets_parquet, cpu_fallback=True
    )
    assert result.returncode == 0, result.stderr
    return StudiesFolder(folder / "studies").study("gpus")


def test_no_two_trials_share_a_gpu_and_workers_have_one_each_by_local_rank(two_trials_at_a_time):
    paths = two_trials_at_a_time
    given: list[str] = []
    for trial in ("0001", "0002"):
        log = paths.trial(trial).workers_log.read_text()
        gpus = dict(re.findall(r"worker (\d) of this node has GPU (\d+); TensorFlow sees 0", log))
        assert sorted(gpus) == ["0", "1"]
        assert log.count("training on the CPU, as configured") == 2
        given += gpus.values()
    assert len(set(given)) == N_GPUS


def test_both_trials_ran_at_the_same_time_and_were_placed(two_trials_at_a_time):
    record = read_study(two_trials_at_a_time)
    first, second = record.trials.values()
    assert (first.outcome, second.outcome) == ("complete", "complete")
    assert second.started < first.times[1]
    text = two_trials_at_a_time.record.read_text()
    assert text.count('"event":"trial_placed"') == 2


def test_help_names_the_check():
    result = CliRunner().invoke(main, ["cluster", "--help"])
    assert "check" in result.stdout


def test_both_nodes_predict_what_one_process_does(address, tmp_path):
    write_model(make_model(), tmp_path / "model")
    jets = write_tables(tmp_path / "jets", {"train": made_up_jets(20_000)}, row_group_size=900)
    words = ("predict", tmp_path / "model", jets, "--out")
    here, there = small_study.call_together(
        (*words, tmp_path / "here.parquet"),
        (*words, tmp_path / "there.parquet", "--workers-at", address, "--workers", "5"),
        variables=small_study.ON_LOOPBACK,
    )
    assert here.returncode == 0, here.stderr
    assert there.returncode == 0, there.stderr
    wanted = pq.read_table(tmp_path / "here.parquet")
    found = pq.read_table(tmp_path / "there.parquet")
    assert found["jet"].to_pylist() == list(range(20_000))
    for name in ("cluster", "distance_0", "mass_gev"):
        assert found[name].to_numpy() == pytest.approx(wanted[name].to_numpy(), abs=1e-5), name
