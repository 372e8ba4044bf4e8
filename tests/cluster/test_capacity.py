"""Whether a cluster may grow, as its head tells."""

import math

import pytest

from ucluster_tune.cluster.fitness.probe import Probe


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The home of the user whom Ray runs as on the head."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "n_workers"),
    [
        ("max_workers: 6\n", 6),
        ("max_workers: 0\n", 0),
        ("cluster_name: lab\n", math.inf),  # as an autoscaler by another hand may be told
        ("{", math.inf),
        ("- 1\n", math.inf),
    ],
)
def test_workers_that_ray_up_allows_are_read_from_its_file(home, text, n_workers):
    (home / "ray_bootstrap_config.yaml").write_text(text)
    assert Probe().n_workers_at_most() == n_workers


def test_ray_that_was_started_by_hand_does_not_grow():
    assert Probe().n_workers_at_most() == 0


def test_cluster_of_kuberay_may_grow_without_a_known_end(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert Probe().n_workers_at_most() == math.inf
