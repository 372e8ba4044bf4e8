"""All jets of HDF5 files, each once and in order, none selected away."""

import tarfile
from math import inf

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.hls4ml_files import made_up_file, write_folder, write_tar
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.hls4ml.conversion import ConversionSettings, convert_dataset
from ucluster_tune.data.hls4ml.stream import open_hls4ml
from ucluster_tune.data.reading.jet_source import chunks_of, open_parquet
from ucluster_tune.data.reading.labels import all_labels
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError


def all_jets(source):
    return [jets for chunk in chunks_of(source) for jets in source.read(chunk.blocks)]


def test_every_jet_of_every_file_comes_in_order(tmp_path):
    folder = write_folder(tmp_path / "jets", n_files=3, n_jets=40)
    source = open_hls4ml(folder, tmp_path)
    assert source.block_sizes == (40, 40, 40)
    assert source.description == f"{folder}, 3 files in the order of their names"
    wanted = np.concatenate(
        [made_up_file(40, seed=n, first_id=n * 40).jet_column("j_mass") for n in range(3)]
    )
    assert np.array_equal(np.concatenate([j.mass_gev for j in all_jets(source)]), wanted)
    mass_gev, jet_class = all_labels(source)
    assert np.array_equal(mass_gev, wanted)
    names = np.array(CLASS_NAMES)[jet_class].tolist()
    assert names == [("w", "z", "t")[index % 40 % 3] for index in range(120)]


def test_a_file_of_many_chunks_is_read_in_blocks(tmp_path):
    """Chunks of 100 rows, and 16 MiB a read: 2600 jets of 100 constituents."""
    file = made_up_file(5300, max_constituents=2)
    file.column("j1_pt")[5200, 0] = np.inf
    path = file.write(tmp_path / "damaged.h5", chunks=True, compression="gzip")
    with pytest.raises(DataError, match="jet 5200 has values in j1_pt that are"):
        all_jets(open_hls4ml(path, tmp_path))
    file.column("j1_pt")[5200, 0] = 1.0
    source = open_hls4ml(
        file.write(tmp_path / "jets.h5", chunks=True, compression="gzip"), tmp_path
    )
    assert len(source.block_sizes) > 1
    assert sum(source.block_sizes) == 5300
    masses = np.concatenate([jets.mass_gev for jets in all_jets(source)])
    assert np.array_equal(masses, file.jet_column("j_mass"))


def test_features_are_those_of_a_conversion(tmp_path):
    path = made_up_file(30).write(tmp_path / "jets.h5")
    everything = ConversionSettings(Selection(-inf, inf, ("w", "z", "t")), (1.0, 0.0, 0.0), 1)
    convert_dataset(path, tmp_path / "converted", everything, command="pytest")
    (converted,) = all_jets(open_parquet(tmp_path / "converted"))
    (streamed,) = all_jets(open_hls4ml(path, tmp_path))
    order = {float(mass): jet for jet, mass in enumerate(streamed.mass_gev)}
    streamed = streamed.take(np.array([order[float(mass)] for mass in converted.mass_gev]))
    assert np.array_equal(streamed.features, converted.features)
    assert np.array_equal(streamed.n_padded, converted.n_padded)
    assert np.array_equal(streamed.jet_class, converted.jet_class)
    assert pq.read_table(tmp_path / "converted" / "train-00000.parquet").num_rows == 30


def test_jets_without_class_or_constituents_stay(tmp_path):
    file = made_up_file(6, classes=("w", "undef"))
    file.constituents[4] = 0
    (jets,) = all_jets(open_hls4ml(file.write(tmp_path / "jets.h5"), tmp_path))
    assert jets.jet_class.tolist() == [2, -1, 2, -1, 2, -1]
    assert len(jets) == 6
    assert jets.n_padded[4] == 100


def test_jets_of_a_file_that_labels_some_classes_are_unlabelled(tmp_path):
    file = made_up_file(6)
    file.jet_names[file.jet_names.index(b"j_g")] = b"j_gluon"
    path = file.write(tmp_path / "jets.h5")
    source = open_hls4ml(path, tmp_path)
    (remark,) = source.remarks
    assert remark.startswith(f"{path}: has no column j_g beside those of other classes; its jets")
    (jets,) = all_jets(source)
    assert jets.jet_class.tolist() == [-1] * 6
    assert open_hls4ml(made_up_file(6).write(path), tmp_path).remarks == ()


def test_a_bad_value_is_named_with_its_jet(tmp_path):
    file = made_up_file(6)
    file.column("j1_e")[3, 0] = -1.0
    file.jet_column("j_mass")[5] = np.nan
    source = open_hls4ml(file.write(tmp_path / "jets.h5"), tmp_path)
    with pytest.raises(DataError, match="jet 3 has values in j1_e that are NaN, infinite or"):
        all_jets(source)
    with pytest.raises(DataError, match="jet 5 has a mass of nan GeV"):
        all_labels(source)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_jets_of_an_archive_come_as_those_of_its_files_unpacked(tmp_path, mode):
    """In the order of the files' names, whatever their order in the archive."""
    folder = write_folder(tmp_path / "jets", n_files=3, n_jets=40)
    archive, scratch = tmp_path / "jets.tar", tmp_path / "scratch"
    scratch.mkdir()
    with tarfile.open(archive, mode) as tar:
        for number in (1, 2, 0):
            tar.add(folder / f"jetImage_{number}_100p.h5", f"val/jetImage_{number}_100p.h5")
    n_bytes: list[int] = []
    source = open_hls4ml(archive, scratch, n_bytes.append)
    assert source.description == f"{archive}, 3 files in the order of their names"
    wanted = open_hls4ml(folder, tmp_path)
    assert source.block_sizes == wanted.block_sizes
    for found, unpacked in zip(all_jets(source), all_jets(wanted), strict=True):
        assert np.array_equal(found.features, unpacked.features)
        assert np.array_equal(found.mass_gev, unpacked.mass_gev)
    assert np.array_equal(all_labels(source)[1], all_labels(wanted)[1])
    assert sum(n_bytes) == archive.stat().st_size


def test_several_archives_come_one_after_the_other(tmp_path):
    for number in range(2):
        file = made_up_file(10, seed=number).write(tmp_path / f"files_{number}" / "a.h5")
        write_tar(tmp_path / "archives" / f"{number}.tar.gz", file.parent)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    jets = all_jets(open_hls4ml(tmp_path / "archives", scratch))
    wanted = [made_up_file(10, seed=number).jet_column("j_mass") for number in range(2)]
    assert np.array_equal(np.concatenate([j.mass_gev for j in jets]), np.concatenate(wanted))


def test_a_bad_value_is_named_with_its_archive(tmp_path):
    file = made_up_file(6)
    file.column("j1_e")[3, 0] = -1.0
    folder = file.write(tmp_path / "jets" / "a.h5").parent
    archive = write_tar(tmp_path / "jets.tar.gz", folder)
    with pytest.raises(DataError, match=r"jets\.tar\.gz: train/a\.h5: jet 3 has values in j1_e"):
        all_jets(open_hls4ml(archive, tmp_path))


def test_a_file_that_shrinks_is_refused(tmp_path):
    source = open_hls4ml(made_up_file(9).write(tmp_path / "jets.h5"), tmp_path)
    made_up_file(5).write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match="has 5 jets, fewer than when it was opened first"):
        all_jets(source)


def test_a_file_without_jets_is_told(tmp_path):
    with pytest.raises(DataError):
        open_hls4ml(made_up_file(0).write(tmp_path / "jets.h5"), tmp_path)
