"""Yardsticks on jets where the right answer is known, and on the jets that ship."""

from dataclasses import replace

import numpy as np
import pytest

from tests.small_datasets import write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.manifest import HLS4ML_SOURCE
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.training.mass_clusters import kmeans_mass
from ucluster_tune.training.yardstick_measures import Clustered, measure_yardsticks

NAMES = ["kmeans_mass", "mass_thresholds", "kmeans_substructure"]


def named(yardsticks, name):
    """A yardstick that is there."""
    found = yardsticks.named(name)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def dataset(jets_parquet):
    return open_dataset(DataConfig(path=str(jets_parquet)))


@pytest.fixture(scope="module")
def measured(dataset):
    return measure_yardsticks(dataset, 3, 24, 1)


def test_each_yardstick_is_measured_on_validation_and_test_jets(dataset, measured):
    found, applied = measured
    assert [y.name for y in found.yardsticks] == [way.name for way in applied] == NAMES
    assert [y.uses_labels for y in found.yardsticks] == [False, True, False]
    for yardstick in found.yardsticks:
        for split in ("validation", "test"):
            here = yardstick.by_split[split]
            assert here.n_jets == np.sum(here.confusion) == dataset.n_jets(split)
            for protocol in ("clustering_accuracy", "clustering_accuracy_batched"):
                low, high = getattr(here, f"{protocol}_interval")
                assert 0 < low < high <= 1
    assert found.dataset_checksum == dataset.manifest.dataset_checksum
    assert found.n_chosen_on == dataset.n_jets("train")
    assert "with their classes" in named(found, "mass_thresholds").how


def test_numbers_are_those_of_kmeans_on_the_mass_alone(dataset, measured):
    expected = kmeans_mass(dataset, "test", 3, 24, 1)
    here = named(measured[0], "kmeans_mass").by_split["test"]
    assert {name: getattr(here, name) for name in expected if name != "split"} == {
        name: value for name, value in expected.items() if name != "split"
    }


def test_yardsticks_are_the_same_when_they_are_measured_again(dataset, measured):
    again = measure_yardsticks(dataset, 3, 24, 1)[0]
    assert replace(again, seconds=0.0) == replace(measured[0], seconds=0.0)


def test_substructure_parts_jets_that_differ_in_it(tmp_path):
    """Classes are as wide as different; the mass says the same."""
    dataset = open_dataset(DataConfig(path=str(write_jets(tmp_path / "jets", n_train=300))))
    found, applied = measure_yardsticks(dataset, 3, 30, 1)
    assert named(found, "kmeans_mass").by_split["test"].clustering_accuracy == 1.0
    assert len(set(applied[2].clusters["test"])) == 3


def test_few_training_jets_are_enough_where_there_are_many(dataset):
    found, _ = measure_yardsticks(dataset, 3, 24, 1, most_training_jets=50)
    assert named(found, "kmeans_substructure").how.endswith("centres of 50 training jets")


def test_other_clusterings_stand_beside_them(dataset):
    perfect = {split: dataset.read_masses(split)[1] for split in ("validation", "test")}
    way = Clustered("published_weights", False, "given", 3, perfect)
    found, _ = measure_yardsticks(dataset, 3, 24, 1, also=(way,))
    assert named(found, "published_weights").by_split["test"].clustering_accuracy == 1.0
    assert named(found, "published_weights").title == "the published weights"


def test_published_accuracy_is_about_the_hls4ml_jets_alone(dataset, measured):
    assert not measured[0].is_reference_data
    manifest = dataset.manifest.model_copy(update={"source": f"{HLS4ML_SOURCE}, a record"})
    theirs = replace(dataset, manifest=manifest)
    assert measure_yardsticks(theirs, 3, 24, 1)[0].is_reference_data
