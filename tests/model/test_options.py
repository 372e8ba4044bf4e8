"""Options beyond the published recipe, against a plain formulation and against numpy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.model.published_graph import PlainNetwork, nearest, nearest_in_angle, pairwise
from tests.model.test_published import departure, made_up_constituents
from tests.small_datasets import pack_padded
from tests.training.small_training import MODEL
from ucluster_tune.config.trial import LossConfig, ModelConfig, TrainingConfig
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.errors import ModelError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.model.attention import head_names
from ucluster_tune.model.dropout import Dropout
from ucluster_tune.model.losses import centroid_separation_loss, focal_loss_sum
from ucluster_tune.model.neighbors import FirstNeighborSearch, feature_space_neighbors
from ucluster_tune.model.optimizer import learning_rate_after
from ucluster_tune.model.published import refuse_unpublished

N_JETS = 12


def config_with(**options):
    return MODEL.model_copy(update=options)


class PlainWithOptions(PlainNetwork):
    """The plain formulation with heads and masks: padded, nothing packed."""

    def __init__(self, config, weights, averages=None):
        super().__init__(weights, averages, config.n_neighbors)
        self.config = config

    def heads(self, name, values, neighbors):
        found = [
            self.attend(head, values, neighbors)
            for head in head_names(name, self.config.n_attention_heads)
        ]
        return [tf.concat(parts, -1) for parts in zip(*found, strict=True)]

    def __call__(self, jets, first):
        is_real = tf.reduce_any(jets != 0, axis=-1)
        attention_1, local_1 = self.heads("first_attention", jets, first)
        hidden_1 = self.conv("first_convolution_1", tf.concat([jets, attention_1], -1))
        hidden_2 = self.conv("first_convolution_2", hidden_1)
        distance = pairwise(tf.stop_gradient(hidden_2))
        if self.config.mask_padding_in_neighbors:
            distance += (
                tf.where(is_real, 0.0, 1e12)
                .numpy()
                .astype(distance.dtype.as_numpy_dtype)[:, None, :]
            )
        second = nearest(distance, self.k)
        attention_2, local_2 = self.heads("second_attention", hidden_2, second)
        hidden_3 = self.conv("second_convolution_1", tf.concat([jets, attention_2], -1))
        hidden_4 = self.conv("second_convolution_2", hidden_3)
        joined = tf.concat([hidden_1, hidden_2, hidden_3, hidden_4, local_1, local_2], -1)
        points = self.conv("embedding", joined)
        if self.config.mask_padding_in_pool:
            real = tf.cast(is_real, points.dtype)[:, :, None]
            embedding = tf.reduce_sum(points * real, axis=1) / tf.reduce_sum(real, axis=1)
        else:
            embedding = tf.reduce_mean(points, axis=1)
        hidden = self.conv("head_2", self.conv("head_1", embedding))
        return embedding, hidden @ self.weights["logits/weights"] + self.weights["logits/biases"]


OPTIONS = [
    {"mask_padding_in_pool": True},
    {"mask_padding_in_neighbors": True},
    {"n_attention_heads": 3},
    {"width_factor": 1.6},
    {"embedding_dim": 5, "n_clusters": 4},
    {
        "mask_padding_in_pool": True,
        "mask_padding_in_neighbors": True,
        "n_attention_heads": 2,
        "width_factor": 0.5,
    },
]


@pytest.mark.parametrize("options", OPTIONS, ids=",".join)
def test_options_are_those_of_the_plain_formulation_in_double_precision(options):
    """Outputs, moments and all gradients, from weights at which nothing is without effect."""
    config = config_with(**options)
    network = build_abcnet(config)
    generator = np.random.default_rng(3)
    start = network.initial_parameters(seed=3).astype(np.float64)
    start += generator.normal(0.0, 0.2, start.shape)
    jets = made_up_constituents(generator, N_JETS)
    packed = FirstNeighborSearch(config)(
        pack_padded(jets, np.full(N_JETS, 80.0, np.float32), np.zeros(N_JETS, np.int64))
    )
    batch = PackedBatch(
        *(
            tf.constant(a, tf.float64 if a.dtype == np.float32 else tf.int32)
            for a in packed.batch(np.arange(N_JETS), config.n_neighbors)
        )
    )
    found, wanted = [], []
    parameters = tf.constant(start)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters)
        weights = network.parameters.unpack(parameters)
        embedding, logits, moments = network.in_training(weights, batch)
        loss = tf.reduce_sum(tf.square(embedding)) + tf.reduce_sum(tf.sin(logits))
        found += [embedding, logits, moments, tape.gradient(loss, parameters)]
        plain = PlainWithOptions(config, weights)
        first = nearest_in_angle(tf.constant(jets), config.n_neighbors)
        embedding, logits = plain(tf.constant(jets, tf.float64), first)
        loss = tf.reduce_sum(tf.square(embedding)) + tf.reduce_sum(tf.sin(logits))
        stored = network.averages.unpack(tf.constant(network.initial_averages(), tf.float64))
        plain_moments = {k: v for k, v in plain.moments.items() if "/self" not in k}
        moments = network.averages.pack({**stored, **plain_moments})
        wanted += [embedding, logits, moments, tape.gradient(loss, parameters)]
    assert np.abs(embedding).max() > 0
    for ours, theirs in zip(found, wanted, strict=True):
        assert departure(ours, theirs) < 1e-8


def test_masked_pool_does_not_depend_on_the_number_of_padded_ones():
    """In inference, where padding enters no moments."""
    config = config_with(mask_padding_in_pool=True, mask_padding_in_neighbors=True)
    network = build_abcnet(config)
    weights = network.parameters.unpack(tf.constant(network.initial_parameters(1)))
    stored = network.averages.unpack(tf.constant(network.initial_averages()))
    jet = np.random.default_rng(0).normal(0, 0.3, (1, 100, 8)).astype(np.float32)
    jet[:, :, 2] = -1.0 - np.abs(jet[:, :, 2])
    jet[:, 20:] = 0.0
    packed = FirstNeighborSearch(config)(
        pack_padded(jet, np.full(1, 80.0, np.float32), np.zeros(1, np.int64))
    )
    batch = packed.batch(np.arange(1), config.n_neighbors)
    fewer = batch._replace(weights=np.where(batch.weights > 1, 3, batch.weights))
    embeddings = [
        network.in_inference(weights, stored, PackedBatch(*map(tf.constant, b)))[0].numpy()
        for b in (batch, fewer)
    ]
    assert np.array_equal(*embeddings)
    assert np.abs(embeddings[0]).max() > 0


def test_padding_is_a_neighbour_only_where_real_ones_run_out():
    """Two jets of 3 and 2 real constituents, k = 3; rows 3 and 6 are padding."""
    values = tf.constant([[0.0], [5.0], [9.0], [0.1], [1.0], [2.0], [1.5]])
    dense_rows = tf.constant([[0, 1, 2, 3], [4, 5, 6, -1]])
    dense_columns = tf.constant([[0, 1, 2, 3, 3, 3], [4, 5, 6, -1, 6, 6]])
    is_padding = tf.constant([False, False, False, True, False, False, True])
    found = feature_space_neighbors(values, dense_rows, dense_columns, 3, is_padding).numpy()
    assert [set(row) for row in found[:3]] == [{0, 1, 2}] * 3
    assert [sorted(row) for row in found[4:6]] == [[4, 5, 6]] * 2
    published = feature_space_neighbors(values, dense_rows, dense_columns, 3).numpy()
    assert 3 in published[0]


def test_heads_have_weights_of_their_own():
    one, three = (build_abcnet(config_with(n_attention_heads=n)).parameters for n in (1, 3))
    assert set(one.names) < set(three.names)
    assert "second_attention/head_3/edge/weights" in three.names
    shapes = dict(three.entries)
    assert shapes["first_convolution_1/weights"] == (8 + 3 * 4, 4)


def test_the_width_factor_scales_every_layer():
    shapes = dict(build_abcnet(ModelConfig(width_factor=0.25)).parameters.entries)
    assert shapes["first_attention/edge/weights"] == (8, 4)
    assert shapes["second_convolution_2/weights"] == (64, 64)
    assert shapes["head_1/weights"] == (3, 64)
    assert shapes["centroids"] == (3, 3)
    assert build_abcnet(ModelConfig(width_factor=0.001)).config.scaled(16) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("mask_padding_in_pool", True), ("mask_padding_in_neighbors", True), ("head", "classes")],
)
def test_networks_unknown_to_the_published_code_are_not_exported(option, value):
    refuse_unpublished(ModelConfig(dropout=0.3, width_factor=2.0, synchronized_batch_norm=True))
    with pytest.raises(ModelError, match=f"{option}: {value}, which the published code has not"):
        refuse_unpublished(ModelConfig.model_validate({option: value}))


# Dropout


def test_dropout_leaves_out_whole_channels_of_a_jet_and_keeps_the_mean():
    jet = tf.constant(np.repeat(np.arange(400, dtype=np.int32), 3))
    values = tf.ones([1200, 50])
    dropped = Dropout(0.3, tf.constant([1, 2])).of_constituents(values, jet, 400).numpy()
    assert np.unique(dropped).tolist() == pytest.approx([0.0, 1 / 0.7])
    by_jet = dropped.reshape(400, 3, 50)
    assert np.array_equal(by_jet, np.repeat(by_jet[:, :1], 3, axis=1))
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    assert np.any(by_jet[0] != by_jet[1])


def test_each_layer_and_each_seed_has_a_mask_of_its_own_and_the_same_again():
    def masks(seed):
        dropout = Dropout(0.5, tf.constant(seed))
        return [dropout.of_jets(tf.ones([40, 40])).numpy() for _ in range(2)]

    first, second = masks([1, 2])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, masks([1, 3])[0])
    assert all(map(np.array_equal, (first, second), masks([1, 2])))


def test_without_dropout_nothing_is_touched():
    values = tf.ones([4, 4])
    assert Dropout().of_jets(values) is values
    assert Dropout().of_constituents(values, tf.range(4), 4) is values


# Losses


def test_smoothed_mass_bins_follow_the_definition():
    generator = np.random.default_rng(0)
    logits, mass_bin = generator.normal(size=(7, 5)), generator.integers(0, 5, 7)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) + 1e-9
    terms = 10 * (1 - p) ** 4 * -np.log(p)
    target = np.full((7, 5), 0.2 / 5) + 0.8 * np.eye(5)[mass_bin]
    found = focal_loss_sum(
        tf.constant(logits), tf.constant(mass_bin, tf.int32), LossConfig(mass_bin_smoothing=0.2)
    )
    assert float(found) == pytest.approx((target * terms).sum(), rel=1e-9)


def test_centroid_separation_is_the_mean_push_over_pairs():
    centroids = np.random.default_rng(0).normal(size=(4, 3))
    pairs = [(a, b) for a in range(4) for b in range(a)]
    wanted = np.mean(
        [np.exp(-np.sum((centroids[a] - centroids[b]) ** 2) / (2 * 0.7**2)) for a, b in pairs]
    )
    assert float(centroid_separation_loss(tf.constant(centroids), 0.7)) == pytest.approx(wanted)
    assert float(centroid_separation_loss(tf.zeros([3, 2]), 1.0)) == pytest.approx(1.0)


# Learning rate


def test_a_cosine_falls_from_the_rate_to_its_floor():
    training = TrainingConfig(learning_rate_schedule="cosine", learning_rate_min=1e-4)
    rates = [learning_rate_after(n, training, 1000) for n in (0, 250, 500, 750, 1000, 2000)]
    wanted = [1e-4 + 9e-4 * (1 + np.cos(np.pi * x)) / 2 for x in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert rates == pytest.approx(wanted)


def test_a_constant_rate_stays():
    training = TrainingConfig(learning_rate_schedule="constant")
    assert learning_rate_after(10**9, training) == 1e-3


def test_warmup_grows_in_proportion_and_then_leaves_the_schedule_alone():
    training = TrainingConfig(learning_rate_warmup_jets=2048)
    rates = [learning_rate_after(512 * step, training) for step in range(5)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert learning_rate_after(600_000, training) == 5e-4
