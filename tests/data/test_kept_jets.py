"""What stays in memory from one training to the next, and for how long."""

import numpy as np
import pytest

from tests.small_datasets import ShamSearch, write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.feeding.kept_jets import KeptJets
from ucluster_tune.data.reading.dataset import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets")


def get(kept, folder, search, split="train", rank=0, **selection):
    dataset = open_dataset(DataConfig(path=str(folder), **selection))
    return kept.get(dataset, split, dataset.share(split, rank, 2), search)


def test_jets_are_read_and_searched_once(folder):
    kept, search = KeptJets(), ShamSearch(3)
    shares = {(split, rank) for split in ("train", "validation") for rank in (0, 1)}
    first = {share: get(kept, folder, search, *share) for share in shares}
    assert all(get(kept, folder, search, *share) is first[share] for share in shares)
    assert search.n_calls == len({len(jets.features) for jets in first.values()}) == 4


def test_fewer_neighbors_are_taken_from_those_there_are_and_more_are_searched_for(folder):
    kept, few, many = KeptJets(), ShamSearch(3), ShamSearch(8)
    narrow = get(kept, folder, few)
    wide = get(kept, folder, many)
    assert (narrow.n_first_neighbors, wide.n_first_neighbors) == (3, 8)
    assert wide.features is narrow.features
    assert get(kept, folder, few) is wide
    assert (few.n_calls, many.n_calls) == (1, 1)
    chosen = np.arange(5)
    for ours, other in zip(wide.batch(chosen, 3), narrow.batch(chosen, 3), strict=True):
        assert np.array_equal(ours, other)


def test_neighbors_of_the_largest_number_that_may_be_asked_for_are_searched_for_once(folder):
    kept, few, many = KeptJets(), ShamSearch(3), ShamSearch(8)
    kept.most_neighbors = 8
    assert get(kept, folder, few).n_first_neighbors == 8
    get(kept, folder, many)
    assert (few.n_calls, many.n_calls) == (1, 0)


def test_jets_of_another_selection_or_data_set_take_their_place(folder, tmp_path):
    kept, search = KeptJets(), ShamSearch(3)
    first = get(kept, folder, search)
    other_jets = write_jets(tmp_path / "other", n_train=40)
    for place, options in ((other_jets, {}), (folder, {"classes": ["w", "t"]})):
        other = get(kept, place, search, **options)
        assert len(other) < len(first)
        assert list(kept._jets.values()) == [other]
    assert len(get(kept, folder, search)) == len(first)


def test_neighbors_of_another_distance_of_padding_are_searched_for_anew(folder):
    kept, near, far = KeptJets(), ShamSearch(3, 10.0), ShamSearch(3, 20.0)
    for _ in range(2):
        get(kept, folder, near)
    get(kept, folder, far)
    assert (near.n_calls, far.n_calls) == (1, 1)
