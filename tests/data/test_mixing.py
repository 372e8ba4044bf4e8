"""Jets come back in the order of their keys, whatever the pieces they came in."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucluster_tune.data.making.mixing import JetMixer


def mixed(folder, keys, pieces, max_jets):
    """The numbers of the jets as they come back, in tables."""
    folder.mkdir()
    with JetMixer(folder, max_jets) as mixer:
        for piece in np.array_split(np.arange(len(keys)), pieces):
            mixer.add(pa.table({"jet": piece}), keys[piece])
        tables = [table["jet"].to_numpy() for table in mixer.tables()]
    assert list(folder.iterdir()) == []
    return tables


def random_keys(n_jets, seed=0):
    return np.random.PCG64(seed).random_raw(n_jets)


@settings(max_examples=30, deadline=None)
@given(
    n_jets=st.integers(1, 300),
    pieces=st.integers(1, 7),
    max_jets=st.integers(1, 100),
    data=st.data(),
)
def test_every_jet_comes_back_once_in_the_order_of_keys(
    tmp_path_factory, n_jets, pieces, max_jets, data
):
    keys = random_keys(n_jets, data.draw(st.integers(0, 99)))
    tables = mixed(tmp_path_factory.mktemp("mix") / "folder", keys, pieces, max_jets)
    assert max(map(len, tables)) <= max_jets
    assert np.concatenate(tables).tolist() == np.argsort(keys).tolist()


def test_keys_that_agree_in_many_bits_are_told_apart(tmp_path):
    keys = (np.uint64(7) << np.uint64(60)) + np.arange(200, dtype=np.uint64)[::-1]
    tables = mixed(tmp_path / "mix", keys, 3, max_jets=40)
    assert np.concatenate(tables).tolist() == list(range(199, -1, -1))


def test_order_looks_random(tmp_path):
    order = np.concatenate(mixed(tmp_path / "mix", random_keys(5000), 9, 500))
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05


@pytest.mark.parametrize("n_pieces", [0, 1])
def test_no_jets_are_no_tables(tmp_path, n_pieces):
    with JetMixer(tmp_path, 10) as mixer:
        for _ in range(n_pieces):
            mixer.add(pa.table({"jet": np.arange(0)}), np.zeros(0, np.uint64))
        assert list(mixer.tables()) == []
