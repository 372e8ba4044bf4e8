"""What is said of nodes that are not fit for a search; the nodes' answers are made up."""

from dataclasses import replace
from pathlib import Path

import pytest

from ucluster_tune.cluster.fitness import probe
from ucluster_tune.cluster.fitness.comparisons import compare, shared_rows
from ucluster_tune.cluster.fitness.shared_folder import DATASETS, shared_token
from ucluster_tune.cluster.nodes import NodeFacts
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.trial.processes.nodes import Node

GIB = 2**30
OWN = probe.versions()
ON_GPUS = ResourcesConfig(gpus_per_worker=1.0)


def node(name="a", address="10.0.0.1", **known):
    known = {"n_cpus": 4.0, "n_gpus": 0.0, "is_head": False, "is_here": False, **known}
    return Node(id=f"id-{name}", name=name, host=known.pop("host", name), address=address, **known)


def healthy(asked=None, **told):
    facts = NodeFacts(
        asked or node(),
        versions=OWN,
        interfaces={"eth0": [asked.address if asked else "10.0.0.1"]},
        n_gpu_devices=0,
        disk_free=50 * GIB,
        memory_free=20 * GIB,
    )
    return replace(facts, **told)


def faults(*told, data=None, resources=None, token=None):
    return [row for row in compare(told, data, resources, token) if not row.ok]


def the_fault(*told, **wanted):
    (row,) = faults(*told, **wanted)
    assert row.remedy
    return row


def test_nodes_that_are_well_have_one_row_a_check():
    rows = list(compare([healthy(), healthy(node("b", "10.0.0.2"))], None, None, None))
    assert all(row.ok and row.remedy == "" for row in rows)
    of_a = [row.check for row in rows if row.node == "a"]
    assert of_a == [row.check for row in rows if row.node == "b"]
    assert len(set(of_a)) == len(of_a) == 9


def test_node_that_does_not_answer_has_this_row_alone():
    rows = list(compare([NodeFacts(node(), fault="no answer within 30 s")], "/jets", None, None))
    rows = [row for row in rows if row.node == "a"]
    assert [(row.check, row.ok, row.found) for row in rows] == [
        ("answer", False, "no answer within 30 s")
    ]


@pytest.mark.parametrize(
    ("name", "version", "check"),
    [
        ("python", "3.8.1", "Python"),
        ("ray", "2.40.0", "Ray"),
        ("tensorflow", "2.14.0", "TensorFlow"),
        ("horovod", None, "Horovod"),
        ("ucluster_tune", "0.1.0 (code 00000000)", "ucluster-tune"),
    ],
)
def test_other_version_is_a_fault_of_that_node(name, version, check):
    odd = healthy(node("b", "10.0.0.2"), versions={**OWN, name: version})
    row = the_fault(healthy(), odd)
    assert (row.node, row.check) == ("b", check)
    assert row.found == (version or "not installed")
    assert str(OWN[name]) in row.remedy


def test_patch_release_of_python_does_not_matter():
    major, minor, _ = str(OWN["python"]).split(".")
    assert faults(healthy(versions={**OWN, "python": f"{major}.{minor}.99"})) == []


def test_host_that_does_not_resolve_gets_the_line_for_its_hosts_file():
    row = the_fault(healthy(host_fault="Name or service not known"))
    assert row.check == "host name"
    assert "`10.0.0.1 a`" in row.remedy


def test_two_machines_of_one_name_are_a_fault_and_two_nodes_of_one_machine_are_not():
    other = healthy(node("b", "10.0.0.2", host="a"))
    assert {row.node for row in faults(healthy(), other)} == {"a", "b"}
    same = healthy(node("b", "10.0.0.1", host="a"))
    assert faults(healthy(), same) == []


def test_interfaces_of_other_names_will_do():
    other = healthy(node("b", "10.0.0.2"), interfaces={"ens5": ["10.0.0.2"]})
    assert faults(healthy(), other) == []


def test_address_of_ray_that_no_interface_has_is_a_fault():
    nets = {"eth0": ["172.16.0.2"], "ib0": ["192.168.0.2"]}
    other = healthy(node("b", "203.0.113.7"), interfaces=nets)
    row = the_fault(healthy(), other)
    assert (row.node, row.check) == ("b", "network")
    assert row.found == "Ray's 203.0.113.7 is none of eth0 172.16.0.2, ib0 192.168.0.2"
    assert "--node-ip-address" in row.remedy


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_too_little_room_is_told_with_the_number(what):
    row = the_fault(healthy(**{f"{what}_free": GIB // 2}))
    assert (row.check, row.found) == (what, "0.5 GiB free")


def answered(place, asked, token):
    """What `asked` answers about the folder of the token."""
    questions = token.questions(None)
    return probe.answer_token(
        {
            "token_folder": questions.token_folder,
            "token": questions.token,
            "node_id": asked.id,
        }
    )


def test_shared_folder_is_one_that_each_node_reads_and_answers(tmp_path):
    place = tmp_path / "new" / "studies"
    with shared_token(str(place)) as token:
        shared = answered(place, node(), token)
        assert shared["fault"] is None
        assert faults(healthy(shared=shared), token=token) == []
    assert not (tmp_path / "new").exists()


def test_answer_that_the_driver_does_not_see_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("ucluster_tune.cluster.fitness.shared_folder._APPEARS_WITHIN_S", 0.0)
    with shared_token(str(tmp_path)) as token:
        row = the_fault(healthy(shared={"fault": None, "detail": None}), token=token)
    assert "not seen by the driver" in row.found
    assert list(tmp_path.iterdir()) == []


def test_folder_of_the_same_name_elsewhere_is_no_shared_one(tmp_path):
    with shared_token(str(tmp_path)) as token:
        Path(token.folder.text, "driver").unlink()
        shared = answered(tmp_path, node(), token)
        row = the_fault(healthy(shared=shared), token=token)
    assert row.found == f"{tmp_path} is another folder there"
    assert "--studies-dir" in row.remedy


def test_folder_of_data_sets_has_a_remedy_of_its_own(tmp_path):
    missing = {"fault": "missing", "detail": None}
    with shared_token(str(tmp_path), DATASETS) as token:
        (row,) = shared_rows([healthy(shared=missing)], token)
    assert (row.check, row.ok) == ("folder of data sets", False)
    assert row.remedy.endswith("name it with UCLUSTER_TUNE_DATASETS")


def test_folder_that_is_missing_on_a_node_is_told(tmp_path):
    questions = {"token_folder": str(tmp_path / "x" / "t"), "token": "t", "node_id": "n"}
    assert probe.answer_token(questions)["fault"] == "missing"


def test_folder_that_the_driver_cannot_write_is_told_once(tmp_path):
    (tmp_path / "file").write_text("")
    with shared_token(str(tmp_path / "file")) as token:
        row = the_fault(healthy(), healthy(node("b", "10.0.0.2")), token=token)
    assert (row.node, row.check) == ("driver", "studies folder")
    assert (tmp_path / "file").exists()


def test_folder_that_a_node_cannot_write_is_told(tmp_path):
    with shared_token(str(tmp_path)) as token:
        Path(token.folder.text, node().id).mkdir()  # root may write everywhere, but not this
        shared = answered(tmp_path, node(), token)
        row = the_fault(healthy(shared=shared), token=token)
    assert "cannot be written there: Is a directory" in row.found


def test_bucket_is_shared_by_all_who_reach_it(s3_server):
    place = f"{s3_server.make_bucket('shared')}/studies"
    with shared_token(place) as token:
        shared = answered(place, node(), token)
        assert faults(healthy(shared=shared), token=token) == []
        (token.folder / "driver").delete()
        assert answered(place, node(), token)["fault"] == "other"
    with shared_token(f"{place}-of-nobody".replace("shared", "missing", 1)) as token:
        assert "no bucket missing" in the_fault(healthy(), token=token).found


def test_data_set_is_compared_by_its_checksum(jets_parquet, tmp_path):
    checksum = read_manifest(jets_parquet).dataset_checksum
    place = str(jets_parquet)
    assert probe.data_checksum(place) == {"checksum": checksum, "fault": None}
    fine = healthy(data={"checksum": checksum, "fault": None})
    assert faults(fine, data=place) == []
    other = healthy(node("b", "10.0.0.2"), data={"checksum": "0" * 64, "fault": None})
    assert "holds other jets" in the_fault(fine, other, data=place).found
    missing = probe.data_checksum(str(tmp_path / "nowhere"))
    row = the_fault(fine, healthy(node("b", "10.0.0.2"), data=missing), data=place)
    assert "no such folder" in row.found
    row = the_fault(fine, data=str(tmp_path / "nowhere"))
    assert row.node == "driver"


def gpu_node(n_devices, **told):
    return healthy(node(n_gpus=2.0), n_gpu_devices=n_devices, **told)


def test_gpus_that_ray_counts_and_the_system_lacks_are_a_fault():
    row = the_fault(gpu_node(1), resources=ON_GPUS)
    assert row.found == "Ray counts 2, the system has 1"
    assert faults(gpu_node(2), resources=ON_GPUS) == []
    assert faults(gpu_node(None), resources=ON_GPUS) == []  # nobody can tell
    assert faults(gpu_node(0), resources=ResourcesConfig()) == []  # nobody asks


def test_what_tensorflow_sees_goes_before_what_the_system_has():
    seen = gpu_node(2, libraries={"n_gpus": 0, "fault": None})
    assert the_fault(seen, resources=ON_GPUS).found == "Ray counts 2, TensorFlow sees 0"


def test_cpus_do_in_place_of_no_gpu_where_they_may_but_not_of_some():
    flexible = ResourcesConfig(gpus_per_worker=1.0, cpu_fallback=True)
    assert faults(gpu_node(0), resources=flexible) == []
    assert the_fault(gpu_node(1), resources=flexible).check == "GPUs"


def test_libraries_that_do_not_load_are_told_with_the_reason():
    row = the_fault(healthy(libraries={"fault": "ImportError: libcudart.so.12"}))
    assert (row.check, row.found) == ("training", "ImportError: libcudart.so.12")


def test_probe_counts_interfaces_without_the_loopback():
    asked = {"token_folder": None, "data": None}
    found = probe.Probe().facts(asked)["interfaces"]
    assert not any(ip.startswith("127.") for ips in found.values() for ip in ips)
    assert probe.memory_free() > 0


def test_package_is_known_by_its_code():
    assert probe.package_version() == OWN["ucluster_tune"]
    assert str(OWN["ucluster_tune"]).startswith("0.")
