"""docs/clusters/kuberay.yaml, as far as it can be looked at without a Kubernetes."""

import inspect
import re
from pathlib import Path

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts as ray_commands

from ucluster_tune.tracking.mlflow import server as tracking_server

FILE = Path(__file__).parents[1] / "docs" / "clusters" / "kuberay.yaml"
PART_OF = "app.kubernetes.io/part-of"


@pytest.fixture(scope="module")
def objects():
    """The objects of the file, by kind: there is one of each."""
    documents = list(yaml.safe_load_all(FILE.read_text()))
    found = {document["kind"]: document for document in documents}
    assert len(found) == len(documents)
    return found


@pytest.fixture(scope="module")
def groups(objects):
    """Head and workers of the RayCluster, by name."""
    spec = objects["RayCluster"]["spec"]
    workers = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"], **workers}


def pods(objects, groups):
    yield from (group["template"] for group in groups.values())
    yield objects["Deployment"]["spec"]["template"]


def test_rays_own_autoscaler_reads_it(objects):
    cluster = objects["RayCluster"]
    assert cluster["apiVersion"] == "ray.io/v1"
    assert cluster["spec"]["rayVersion"] == ray.__version__
    named = {**cluster, "metadata": {**cluster["metadata"], "namespace": "physics"}}
    config = _derive_autoscaling_config_from_ray_cr(named)
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert types["headgroup"]["resources"] | {"memory": 0} == {"CPU": 0, "GPU": 0, "memory": 0}
    gpu = types["gpu"]
    assert (gpu["resources"]["CPU"], gpu["resources"]["GPU"]) == (4, 1)
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, 4)
    assert config["idle_timeout_minutes"] == 10


def test_the_commands_know_their_options(objects, groups):
    for name, group in groups.items():
        options = [f"--{key}={value}" for key, value in group["rayStartParams"].items()]
        kind = ["--head"] if name == "head" else ["--address=head:6379"]
        ray_commands.start.make_context("start", [*kind, *options])
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:2] == ["mlflow", "server"]
    tried = inspect.getsource(tracking_server.MlflowServer)  # by tests with a real server
    for word in container["command"][2:]:
        assert f'"{word.partition("=")[0]}"' in tried


def test_ray_wants_a_token_and_nothing_is_open_to_the_world(objects, groups):
    assert objects["RayCluster"]["spec"]["authOptions"] == {"mode": "token"}
    assert groups["head"]["serviceType"] == objects["Service"]["spec"]["type"] == "ClusterIP"
    assert "hostPort" not in FILE.read_text()
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert all("podSelector" in source for source in rule["from"])
    for pod in pods(objects, groups):
        assert pod["metadata"]["labels"][PART_OF] == policy["podSelector"]["matchLabels"][PART_OF]


def test_pods_are_no_roots_and_bounded(objects, groups):
    for pod in pods(objects, groups):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert re.fullmatch(r"REGISTRY/ucluster-tune:(cpu|gpu)", container["image"])
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
    images = {name: group["template"]["spec"]["containers"][0]["image"][-3:]
              for name, group in groups.items()}  # fmt: skip
    assert images == {"head": "cpu", "gpu": "gpu"}


def test_all_share_one_volume_and_find_mlflow(objects, groups):
    claim = objects["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(objects, groups):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        named = volumes["shared"]["persistentVolumeClaim"]["claimName"]
        assert named == claim["metadata"]["name"]
    service, deployment = objects["Service"], objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for group in groups.values():
        (container,) = group["template"]["spec"]["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        uri = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        assert variables["MLFLOW_TRACKING_URI"] == uri
        for name in ("STUDIES", "DATASETS", "CACHE"):
            assert variables[f"UCLUSTER_TUNE_{name}"].startswith("/shared/")
    (mlflow,) = deployment["spec"]["template"]["spec"]["containers"]
    (allowed,) = [word for word in mlflow["command"] if word.startswith("--allowed-hosts=")]
    assert f"={service['metadata']['name']}:5000," in allowed
    assert allowed.endswith(",mlflow.localhost:*")


def test_each_line_that_costs_money_says_so():
    for line in FILE.read_text().splitlines():
        if re.search(r"maxReplicas|idleTimeout|requests: \{(storage|cpu: \"?[24])", line):
            assert "COSTS" in line, line
