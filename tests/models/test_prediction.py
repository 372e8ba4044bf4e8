"""Predictions of a model at rest."""

from dataclasses import replace

import numpy as np
import pytest

from tests.published_data import FOLDER, published_arrays_of
from tests.small_datasets import made_up_jets, pack_padded
from tests.training.small_training import MODEL
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.parquet_files import pack_table
from ucluster_tune.errors import DataError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.models.prediction import Predictor
from ucluster_tune.models.saved import SavedModel


def make_model(seed=0):
    network = build_abcnet(MODEL)
    generator = np.random.default_rng(seed)
    parameters = network.initial_parameters(seed)
    parameters += generator.normal(0, 0.1, len(parameters)).astype(np.float32)
    return SavedModel(MODEL, parameters, network.initial_averages(), "a test")


@pytest.fixture(scope="module")
def jets():
    return pack_table(made_up_jets(40, seed=5), CLASS_NAMES)


def test_published_weights_give_the_published_clusters():
    """Bounds as for the network itself; see tests/model/test_published.py."""
    from ucluster_tune.models.published import read_published

    published = published_arrays_of("inference")
    jets = pack_padded(published.constituents, published.mass_gev, published.jet_class)
    found = Predictor(read_published(FOLDER / "cluster.ckpt", 10)).predict([jets])

    def departure(ours, theirs):
        return np.abs(ours - theirs).max() / np.abs(theirs).max()

    assert departure(found.embedding, published.embedding) < 1e-5
    assert departure(found.distances, published.squared_distance) < 1e-4
    assert np.array_equal(found.cluster, published.squared_distance.argmin(axis=1))
    assert np.array_equal(found.mass_gev, published.mass_gev.astype(np.float32))


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_the_batch_size_makes_no_difference(jets, batch_size):
    wanted = Predictor(make_model(), 16).predict([jets])
    found = Predictor(make_model(), batch_size).predict([jets])
    assert np.abs(wanted.embedding).max() > 0
    assert found.embedding == pytest.approx(wanted.embedding, abs=1e-5)
    assert found.distances == pytest.approx(wanted.distances, abs=1e-5)
    assert np.array_equal(found.cluster, wanted.cluster)


def test_pieces_are_joined_in_order(jets):
    predictor = Predictor(make_model())
    first = predictor.predict([jets])
    both = predictor.predict([jets, jets])
    assert len(both.cluster) == 2 * len(jets)
    assert np.array_equal(both.embedding, np.concatenate([first.embedding] * 2))
    assert np.array_equal(both.jet_class, np.concatenate([jets.jet_class] * 2))


def test_distances_are_squared_and_to_each_centroid(jets):
    model = make_model()
    found = Predictor(model).predict([jets])
    centroids = build_abcnet(MODEL).parameters.to_arrays(model.parameters)["centroids"]
    wanted = ((found.embedding[:, None] - centroids) ** 2).sum(axis=-1)
    assert found.distances == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert np.array_equal(found.cluster, wanted.argmin(axis=1))


def test_a_jet_far_out_is_named(jets):
    features = jets.features.copy()
    features[jets.first_rows[23]] = 1e38
    wild = replace(jets, features=features)
    with pytest.raises(DataError, match=r"^jet 63, counted from 0: .*largest feature is 1e\+38"):
        Predictor(make_model(), 16).predict([jets, wild])
    with pytest.raises(DataError, match=r"^number 63 here: the network"):
        Predictor(make_model(), 16).predict([jets, wild], "number {} here".format)


def test_a_jet_without_constituents_gets_a_row(jets):
    """As the published network takes it: a hundred padded constituents."""
    empty = pack_padded(
        np.zeros((2, 100, 8), np.float32), np.ones(2, np.float32), np.zeros(2, np.int64)
    )
    found = Predictor(make_model()).predict([empty])
    assert np.isfinite(found.embedding).all()
    assert found.n_constituents.tolist() == [0, 0]


def test_real_constituents_are_counted(jets):
    found = Predictor(make_model(), 16).predict([jets]).n_constituents
    assert found.tolist() == (100 - jets.n_padded).tolist()
