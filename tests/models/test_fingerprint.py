"""How far jets are from those that a model was trained on, by its batch-norm averages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.published_data import FOLDER, needs_published_data, published_arrays_of
from tests.small_datasets import made_up_jets, pack_padded, write_jets
from tests.training.small_training import MODEL
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.data.format.parquet_files import pack_table
from ucluster_tune.data.reading.jet_source import SelectedJets, open_parquet
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.models.fingerprint import take_fingerprint
from ucluster_tune.models.prediction import Predictor
from ucluster_tune.models.published import read_published
from ucluster_tune.models.saved import SavedModel
from ucluster_tune.report.fingerprint_view import fingerprint_document, is_near
from ucluster_tune.training.metrics import batched_accuracies

SAMPLE = Path(__file__).parents[2] / "search_spaces" / "data" / "wzt_sample"
WIDE = Selection(0.0, 1000.0)
PUBLISHED_INPUTS = {  # of W, Z and top, 10 < mass < 200 GeV, padding included
    "eta_rel": 0.0,
    "phi_rel": 0.0,
    "ln_pt_rel": -2.3156,
    "delta_r": 0.0618,
    "ln_energy": 1.0427,
    "ln_energy_rel": -2.3152,
    "ln_pt": 0.9301,
    "cos_theta_rel": 0.0,
}


class InMemory:
    """Jets as a source of one block."""

    description = "jets of a test"

    def __init__(self, jets):
        self._jets = jets
        self.block_sizes = (len(jets),)

    def read(self, blocks):
        yield self._jets

    def read_labels(self, blocks):
        return self._jets.mass_gev, self._jets.jet_class

    def place_of(self, chunk, position):
        return f"jet {position}"

    def unknown_classes(self):
        return []


def jets_of(n_jets, seed):
    return pack_table(made_up_jets(n_jets, seed=seed), CLASS_NAMES)


@pytest.fixture(scope="module")
def model():
    """A model whose averages are the moments of 400 jets."""
    network = build_abcnet(MODEL)
    parameters = network.initial_parameters(3)
    jets = FirstNeighborSearch(MODEL)(jets_of(400, 1))
    batch = jets.batch(np.arange(400), MODEL.n_neighbors)
    moments = network.in_training(
        network.parameters.unpack(tf.constant(parameters)), PackedBatch(*map(tf.constant, batch))
    )[2]
    return SavedModel(MODEL, parameters, moments.numpy(), "a test")


def test_the_jets_that_a_model_was_trained_on_have_no_deviation(model):
    found = take_fingerprint(model, InMemory(jets_of(400, 1)), WIDE)
    assert found.n_jets == 400
    assert found.worst.mean < 1e-4
    assert max(layer.variance for layer in found.layers) < 1e-3
    assert is_near(found)
    assert found.inputs == {}  # the branch that tells them acts on nothing and is not trained


def test_a_shift_of_the_features_is_seen_by_its_size(model):
    jets = jets_of(400, 1)
    is_real = np.any(jets.features != 0, axis=1)
    features = jets.features.copy()
    features[is_real, FEATURE_NAMES.index("ln_energy")] += 0.5
    found = take_fingerprint(model, InMemory(replace(jets, features=features)), WIDE)
    assert not is_near(found)
    assert found.worst.mean > 0.05
    sentence = fingerprint_document(found, "model")["sentence"]
    assert "other jets" in sentence
    assert f"{found.worst.mean:.3f}" in sentence


def test_only_the_selected_jets_count(model):
    jets = jets_of(400, 1)
    found = take_fingerprint(model, InMemory(jets), Selection(0.0, 1000.0, ("w",)))
    assert found.n_jets == (jets.jet_class == CLASS_NAMES.index("w")).sum()
    assert found.worst.mean > 0.05  # the model saw three classes
    with pytest.raises(DataError, match="choose other data"):
        take_fingerprint(model, InMemory(jets), Selection(500.0, 600.0))


def test_the_order_of_jets_in_a_data_set_does_not_matter(model, tmp_path):
    folder = write_jets(tmp_path / "jets", 200, 100, 100)
    found = take_fingerprint(model, open_parquet(folder), WIDE)
    assert found.n_jets == 400
    assert found.worst.mean < 0.2


@needs_published_data
@pytest.mark.slow
def test_the_committed_jets_are_to_the_published_network_as_the_published_ones():
    """Acceptance of the recipe: 0.02 standard deviations, 3 % in variance."""
    model = read_published(FOLDER / "cluster.ckpt", 10)
    selection = replace(model.selection, classes=("w", "z", "t"))
    found = take_fingerprint(model, open_parquet(SAMPLE), selection)
    assert found.n_jets == 12_000
    for layer in found.layers:
        assert layer.mean < 0.02, layer
        assert layer.variance < 0.03, layer
    assert {layer.layer for layer in found.layers} >= {
        "first_attention/self",
        "first_attention/edge",
        "first_convolution_1",
        "second_attention/edge",
        "second_convolution_2",
        "embedding",
    }
    for name, (trained, here) in found.inputs.items():
        assert trained == pytest.approx(PUBLISHED_INPUTS[name], abs=5e-4)
        assert here == pytest.approx(PUBLISHED_INPUTS[name], abs=0.02)
    assert is_near(found)


@needs_published_data
@pytest.mark.slow
def test_published_weights_reach_76_percent_of_the_committed_jets():
    """As published: in batches of 512, with the centroids of the checkpoint."""
    source = SelectedJets(open_parquet(SAMPLE), Selection(classes=("w", "z", "t")))
    jets = source.read(range(len(source.block_sizes)))
    found = Predictor(read_published(FOLDER / "cluster.ckpt", 10)).predict(jets)
    jet_class = found.jet_class - CLASS_NAMES.index("w")  # w, z, t follow each other
    assert np.mean(batched_accuracies(found.cluster, jet_class, 3, 3, 512)) >= 0.76


@needs_published_data
def test_jets_with_another_last_feature_are_told_from_the_published_ones():
    """The jets of the reference arrays were made by an older recipe, with cosines to the jet."""
    published = published_arrays_of("inference")
    jets = pack_padded(published.constituents, published.mass_gev, published.jet_class + 2)
    found = take_fingerprint(read_published(FOLDER / "cluster.ckpt", 10), InMemory(jets), WIDE)
    assert not is_near(found)
    trained, here = found.inputs["cos_theta_rel"]
    assert abs(trained) < 1e-3
    assert here > 0.2
