"""All jets of a data set, each once and in order, whatever pieces they are read in."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_datasets import made_up_jets, write_jets, write_tables
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES
from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.data.making.writer import write_dataset
from ucluster_tune.data.reading.jet_source import chunks_of, open_parquet
from ucluster_tune.errors import DataError


@pytest.fixture
def folder(tmp_path):
    return write_jets(tmp_path / "jets", 37, 20, 11, row_group_size=7)


def masses(source, n_jets=8192):
    pieces = [p for chunk in chunks_of(source, n_jets) for p in source.read(chunk.blocks)]
    return np.concatenate([piece.mass_gev for piece in pieces])


def stored_masses(folder, splits):
    tables = [pq.read_table(folder / f"{split}-00000.parquet") for split in splits]
    return np.concatenate([table["mass_gev"].to_numpy() for table in tables])


@pytest.mark.parametrize("n_jets", [1, 10, 8192])
def test_all_splits_follow_each_other_in_the_stated_order(folder, n_jets):
    source = open_parquet(folder)
    assert np.array_equal(masses(source, n_jets), stored_masses(folder, SPLITS))
    assert sum(source.block_sizes) == 68
    assert source.description == f"{folder}, jets in the order train, validation, test"


@pytest.mark.parametrize("split", SPLITS)
def test_one_split_is_read_alone(folder, split):
    source = open_parquet(folder, split)
    assert np.array_equal(masses(source), stored_masses(folder, [split]))
    assert source.description == f"{folder}, {split} jets"


def test_several_files_are_read_in_the_order_of_their_numbers(tmp_path):
    jets = made_up_jets(25)
    write_dataset(
        tmp_path / "jets",
        {"test": jets},
        name="made up",
        source="a test",
        command="pytest",
        settings={},
        jets_per_file=10,
    )
    found = masses(open_parquet(tmp_path / "jets"))
    assert np.array_equal(found, jets["mass_gev"].to_numpy())


def test_no_jet_is_selected_away_and_the_unlabelled_are_minus_one(tmp_path):
    jets = made_up_jets(6, classes=("g", "q", "w", "z", "t"))
    labels = pa.array([None, *jets["jet_class"].to_pylist()[1:]], pa.string())
    far_out = pa.array(np.array([1, 500, 1e6, 80, 80, 3], np.float32))
    jets = jets.set_column(0, jets.schema.field(0), labels)
    jets = jets.set_column(1, jets.schema.field(1), far_out)
    source = open_parquet(write_tables(tmp_path / "jets", {"train": jets}))
    (piece,) = source.read(range(0, 1))
    assert piece.jet_class.tolist() == [
        -1,
        *(CLASS_NAMES.index(c) for c in labels.to_pylist()[1:]),
    ]
    assert piece.mass_gev.tolist() == far_out.to_pylist()


def test_constituents_are_those_of_the_file(folder):
    table = pq.read_table(folder / "validation-00000.parquet")
    (piece,) = open_parquet(folder, "validation").read(range(1, 2))
    for jet in range(len(piece)):
        rows = slice(piece.first_rows[jet], piece.first_rows[jet] + piece.n_rows[jet] - 1)
        for column, name in enumerate(FEATURE_NAMES):
            wanted = table[name][7 + jet].as_py()
            assert piece.features[rows, column].tolist() == wanted


@dataclass(frozen=True)
class Sizes:
    """A source that is never read."""

    block_sizes: tuple[int, ...]
    description: str = ""

    def read(self, blocks):
        raise AssertionError

    read_labels = read

    def place_of(self, chunk, position):
        raise AssertionError

    def unknown_classes(self):
        raise AssertionError


@given(st.lists(st.integers(0, 9), max_size=30).map(tuple), st.integers(1, 20))
def test_chunks_hold_every_block_with_jets_once(sizes, n_jets):
    chunks = chunks_of(Sizes(sizes), n_jets)
    seen = [block for chunk in chunks for block in chunk.blocks]
    assert seen == list(range(len(seen)))
    assert not any(sizes[len(seen) :])
    start = 0
    for chunk in chunks:
        assert chunk.first_jet == start
        assert chunk.n_jets == sum(sizes[chunk.blocks.start : chunk.blocks.stop]) > 0
        start += chunk.n_jets
    assert all(chunk.n_jets >= n_jets for chunk in chunks[:-1])


def test_a_split_without_jets_is_told(tmp_path):
    folder = write_tables(tmp_path / "jets", {"train": made_up_jets(5)})
    with pytest.raises(DataError, match="the data set has no test jets; choose another split"):
        open_parquet(folder, "test")


def test_a_file_cut_short_is_refused_before_anything_is_read(folder):
    file = folder / "test-00000.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test-00000\.parquet: has .* bytes, the manifest says"):
        open_parquet(folder)


def test_a_value_that_is_not_finite_is_named_with_its_place(tmp_path):
    jets = made_up_jets(6)
    lists = jets["delta_r"].to_pylist()
    lists[3][0] = float("nan")
    index = jets.schema.get_field_index("delta_r")
    field = jets.schema.field(index)
    jets = jets.set_column(index, field, pa.array(lists, field.type))
    source = open_parquet(write_tables(tmp_path / "jets", {"train": jets}, row_group_size=2))
    with pytest.raises(DataError, match="row group 1, column delta_r: 1 values are NaN"):
        masses(source)


def test_a_file_that_changes_while_it_is_read_is_refused(folder):
    source = open_parquet(folder)
    (folder / "train-00000.parquet").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"has 14 bytes, the manifest says \d+: it was cut short"):
        masses(source)
