"""Clusterings are ranked by what others' embeddings say, whatever their own ones do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucluster_tune.training.cross_space import cross_space_ranks, separation

GENERATOR = np.random.default_rng(0)
TRUTH = np.arange(300) % 3


def embedding_of(cluster, noise=0.5):
    """Jets around one place a cluster, some dimensions turned into others."""
    turn = np.linalg.qr(GENERATOR.normal(size=(3, 3)))[0]
    return (np.eye(3)[cluster] * 3 + GENERATOR.normal(scale=noise, size=(len(cluster), 3))) @ turn


def spoiled(share):
    """The true clusters, a share of the jets dealt at random."""
    is_changed = GENERATOR.random(len(TRUTH)) < share
    return np.where(is_changed, GENERATOR.integers(0, 3, len(TRUTH)), TRUTH)


def test_separation_has_no_scale_and_knows_no_names():
    embedding, cluster = embedding_of(TRUTH), spoiled(0.2)
    found = separation(embedding, cluster)
    assert separation(100 * embedding + 7, (cluster + 1) % 3) == pytest.approx(found)
    assert separation(embedding, TRUTH) > found > separation(embedding, spoiled(0.9))


def test_one_cluster_separates_nothing_and_a_point_tells_nothing():
    assert separation(embedding_of(TRUTH), np.zeros(300, int)) == -1.0
    assert np.isnan(separation(np.zeros((300, 3)), TRUTH))
    assert np.isnan(separation(np.full((300, 3), np.nan), TRUTH))


def test_clusterings_rank_by_the_embeddings_of_others():
    clusterings = [spoiled(share) for share in (0.6, 0.0, 0.3, 0.9)]
    embeddings = [embedding_of(TRUTH) for _ in clusterings]
    owners = range(4)
    ranks = cross_space_ranks(clusterings, embeddings, owners, owners)
    assert np.argsort(-ranks).tolist() == [1, 2, 0, 3]
    assert ranks[1] == 1.0


def test_a_network_cannot_flatter_itself():
    """Its embedding is made for its own clusters, which no other one sees."""
    strange = (TRUTH + np.arange(300) // 3) % 3
    clusterings = [strange, TRUTH, spoiled(0.2), spoiled(0.3)]
    embeddings = [embedding_of(strange, noise=0.01), *(embedding_of(TRUTH) for _ in range(3))]
    own = [separation(e, c) for e, c in zip(embeddings, clusterings, strict=True)]
    assert np.argmax(own) == 0
    ranks = cross_space_ranks(clusterings, embeddings, range(4), range(4))
    assert np.argmin(ranks) == 0


def test_epochs_of_one_owner_are_not_ranked_in_its_own_embedding():
    clusterings = [TRUTH, spoiled(0.5), spoiled(0.2)]
    ranks = cross_space_ranks(clusterings, [embedding_of(TRUTH)], [0, 1, 1], [0])
    assert np.isnan(ranks).all()  # those of one owner alone are left to compare
    ranks = cross_space_ranks(clusterings, [embedding_of(TRUTH)] * 2, [0, 1, 2], [0, 1])
    assert ranks[0] == 1.0
    assert np.isnan(cross_space_ranks(clusterings, [], [0, 1, 2], [])).all()


@given(st.permutations(range(4)))
def test_the_order_of_the_clusterings_does_not_matter(order):
    clusterings = [TRUTH, np.roll(TRUTH, 1), np.sort(TRUTH), np.arange(300) % 2]
    embeddings = [np.column_stack([TRUTH, np.arange(300) / 300, c]) for c in clusterings]
    ranks = cross_space_ranks(clusterings, embeddings, range(4), range(4))
    changed = cross_space_ranks(
        [clusterings[i] for i in order], [embeddings[i] for i in order], range(4), range(4)
    )
    assert np.allclose(changed, ranks[list(order)])
