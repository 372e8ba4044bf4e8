"""A jet is named by its file and its number there, whatever was selected."""

import pytest

from tests.hls4ml_files import made_up_file
from tests.small_datasets import made_up_jets
from ucluster_tune.data.hls4ml.stream import open_hls4ml
from ucluster_tune.data.making.writer import write_dataset
from ucluster_tune.data.reading.jet_source import SelectedJets, chunks_of, open_parquet
from ucluster_tune.data.reading.selection import Selection


@pytest.fixture
def parquet(tmp_path):
    """Three files of 20, 20 and 10 jets, in row groups of 6."""
    write_dataset(
        tmp_path / "jets",
        {"train": made_up_jets(40), "test": made_up_jets(10, seed=1)},
        name="made up",
        source="a test",
        command="pytest",
        settings={},
        jets_per_file=20,
        row_group_size=6,
    )
    return open_parquet(tmp_path / "jets")


def places(source, n_jets=15):
    """Mass and place of all jets that a source gives, in chunks."""
    return [
        (mass_gev, source.place_of(chunk, position))
        for chunk in chunks_of(source, n_jets)
        for position, mass_gev in enumerate(
            mass for piece in source.read(chunk.blocks) for mass in piece.mass_gev.tolist()
        )
    ]


def test_a_jet_of_a_data_set_is_named_by_its_file_and_row(parquet, tmp_path):
    found = [place for _, place in places(parquet)]
    assert found[0] == f"{tmp_path}/jets/train-00000.parquet: jet 0, counted from 0"
    assert found[19] == f"{tmp_path}/jets/train-00000.parquet: jet 19, counted from 0"
    second = f"{tmp_path}/jets/train-00001.parquet: jet 13, counted from 0 (33 of all)"
    assert found[33] == second
    assert found[49].endswith("test-00000.parquet: jet 9, counted from 0 (49 of all)")


def test_a_selection_changes_no_name(parquet):
    selected = SelectedJets(parquet, Selection(85.0, 200.0, ("z", "t")))
    found = places(selected)
    assert 0 < len(found) < 50
    assert found == [(m, place) for m, place in places(parquet) if m > 85]


def test_a_jet_of_hdf5_is_named_by_its_file_and_row(tmp_path):
    for number, n_jets in enumerate((30, 12)):
        made_up_file(n_jets, seed=number).write(tmp_path / "jets" / f"{number}.h5")
    selected = SelectedJets(open_hls4ml(tmp_path / "jets", tmp_path), Selection(classes=("t",)))
    found = [place for _, place in places(selected)]
    assert found[1] == f"{tmp_path}/jets/0.h5: jet 5, counted from 0"
    assert found[-1] == f"{tmp_path}/jets/1.h5: jet 11, counted from 0 (41 of all)"
