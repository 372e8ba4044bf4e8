"""Which jets a number is about."""

import numpy as np
import pyarrow as pa
import pytest

from tests.small_datasets import made_up_jets, write_tables
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.reading.jet_source import SelectedJets, open_parquet
from ucluster_tune.data.reading.labels import select_labels
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError

MASSES = [10.0, 10.5, 80.0, 90.0, 170.0, 199.9, 200.0, 5.0, 85.0, 300.0]
LABELS = ["w", "w", "q", "z", "t", "t", "t", "w", None, None]


@pytest.fixture
def source(tmp_path):
    jets = made_up_jets(10)
    jets = jets.set_column(0, jets.schema.field(0), pa.array(LABELS, pa.string()))
    jets = jets.set_column(1, jets.schema.field(1), pa.array(MASSES, pa.float32()))
    return open_parquet(write_tables(tmp_path / "jets", {"test": jets}, row_group_size=3))


def test_the_published_window_excludes_its_ends(source):
    labels = select_labels(source, Selection())
    assert labels.mass_gev.tolist() == pytest.approx([10.5, 80.0, 90.0, 170.0, 199.9])
    assert labels.class_names == ("q", "w", "z", "t")
    assert labels.jet_class.tolist() == [1, 0, 2, 3, 3]
    assert (labels.n_read, labels.n_outside) == (10, 4)
    assert (labels.n_other_class, labels.n_unlabelled) == (0, 1)


def test_jets_of_other_classes_are_counted_apart(source):
    labels = select_labels(source, Selection(0.0, 1000.0, ("w", "t")))
    assert labels.class_names == ("w", "t")
    assert labels.jet_class.tolist() == [0, 0, 1, 1, 1, 0]
    counted = (labels.n_outside, labels.n_other_class, labels.n_unlabelled)
    assert counted == (0, 2, 2)
    assert labels.n_read == len(labels.mass_gev) + sum(counted)


def test_selected_jets_are_those_of_the_labels(source):
    """Features, masses and classes alike, in every block."""
    selection = Selection(11.0, 199.0, ("q", "z"))
    selected = SelectedJets(source, selection)
    labels = select_labels(source, selection)
    for block in range(len(source.block_sizes)):
        alone = range(block, block + 1)
        (whole,) = source.read(alone)
        passes = selection.passes(whole.mass_gev, whole.jet_class)
        pieces = list(selected.read(alone))
        assert len(pieces) == int(passes.any())
        for piece in pieces:
            assert np.array_equal(piece.mass_gev, whole.mass_gev[passes])
            rows = np.repeat(passes, whole.n_rows)
            assert np.array_equal(piece.features, whole.features[rows])
            assert np.array_equal(piece.n_padded, whole.n_padded[passes])
        mass_gev, jet_class = selected.read_labels(alone)
        assert mass_gev.tolist() == [m for piece in pieces for m in piece.mass_gev.tolist()]
        assert jet_class.tolist() == [c for piece in pieces for c in piece.jet_class.tolist()]
    assert labels.class_names == ("q", "z")
    assert "q" in CLASS_NAMES


def test_nothing_left_is_told_with_the_reason(source):
    with pytest.raises(DataError, match="none of 10 jets passes g with 10 < mass < 200 GeV; 1 in"):
        select_labels(source, Selection(classes=("g",)))
    with pytest.raises(DataError, match="none of 10 jets passes 500 < mass < 600 GeV; choose"):
        select_labels(source, Selection(500.0, 600.0))
