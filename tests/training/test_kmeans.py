"""The centroids that the clustering phase starts from."""

import numpy as np

from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.kmeans import kmeans_centroids, stability


def centroids_of(points, n_clusters, seed=1):
    return kmeans_centroids(np.asarray(points, np.float32), n_clusters, 10, seed, OneWorker())


def test_centroids_are_the_middles_of_the_groups():
    generator = np.random.default_rng(0)
    middles = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    points = np.repeat(middles, 50, axis=0) + generator.normal(0, 0.1, (150, 2))
    found = centroids_of(points, 3)
    assert found.dtype == np.float32
    nearest = np.linalg.norm(found[:, None] - middles, axis=-1)
    assert sorted(nearest.argmin(axis=1)) == [0, 1, 2]
    assert nearest.min(axis=1).max() < 0.1


def test_the_same_seed_gives_the_same_centroids():
    points = np.random.default_rng(0).normal(size=(200, 3))
    assert np.array_equal(centroids_of(points, 5, seed=3), centroids_of(points, 5, seed=3))


def test_a_collapsed_embedding_gives_finite_centroids():
    found = centroids_of(np.zeros((40, 3)), 3)
    assert found.tolist() == [[0.0] * 3] * 3


def test_fewer_points_than_clusters_are_repeated():
    found = centroids_of([[1.0], [2.0], [1.0]], 3)
    assert sorted(found[:, 0]) == [1.0, 1.0, 2.0]


def test_clusters_that_are_there_are_stable_and_others_are_not():
    generator = np.random.default_rng(0)
    cloud = generator.normal(size=(600, 3)).astype(np.float32)
    apart = cloud + 20 * np.repeat(np.eye(3, dtype=np.float32), 200, axis=0)
    assert stability(apart, 3, seed=0) == 1.0
    assert stability(cloud, 5, seed=0) < 0.7
    assert stability(apart[:, :1], 5, seed=0) < 1.0


def test_a_collapsed_embedding_is_not_called_stable():
    assert stability(np.zeros((40, 3), np.float32), 3, seed=0) == 0.0
    assert stability(np.eye(2, dtype=np.float32), 3, seed=0) == 0.0
    assert stability(np.full((40, 3), np.nan, np.float32), 3, seed=0) == 0.0
