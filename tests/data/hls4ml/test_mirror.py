"""The parquet mirror of the HLS4ML jets, written here in the layout that its maker documents."""

from math import inf
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hls4ml_files import CONSTITUENT_NAMES, N_COLUMNS, made_up_file
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.data.hls4ml.conversion import ConversionSettings, convert_dataset
from ucluster_tune.data.hls4ml.mirror import is_mirror, read_mirror
from ucluster_tune.data.hls4ml.sources import is_source
from ucluster_tune.data.hls4ml.stream import open_hls4ml
from ucluster_tune.data.making.preparation import plan_preparation
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError

LABELS = ("g", "q", "w", "z", "t")
SETTINGS = ConversionSettings(Selection(-inf, inf, LABELS), (0.5, 0.25, 0.25), 1)


def write_mirror(path: Path, n_jets=60, seed=0, **changes):
    """Lists without padding, jets' numbers, `label`; the same jets as `made_up_file` makes."""
    file = made_up_file(n_jets, LABELS, seed=seed, n_slots=150, max_constituents=140)
    counts = (file.column("j1_pt") > 0).sum(axis=1)
    columns = {
        name: [file.column(name)[jet, :n].tolist() for jet, n in enumerate(counts)]
        for name in CONSTITUENT_NAMES[:N_COLUMNS]
    }
    table = {
        **{name: pa.array(lists, pa.list_(pa.float32())) for name, lists in columns.items()},
        "j_pt": pa.array(file.jet_column("j_pt"), pa.float32()),
        "j_mass": pa.array(file.jet_column("j_mass"), pa.float32()),
        "label": pa.array([index % 5 for index in range(n_jets)], pa.int8()),
        "source_file": pa.array([f"jetImage_7_150p_{seed}"] * n_jets),
        "source_row": pa.array(range(n_jets), pa.int32()),
    }
    table.update(changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns_left = {name: values for name, values in table.items() if values is not None}
    pq.write_table(pa.table(columns_left), path, compression="snappy", row_group_size=25)
    return file, counts


def converted(source, folder, settings=SETTINGS):
    result = convert_dataset(source, folder, settings, command="pytest")
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return result, pa.concat_tables(tables)


def test_the_mirror_becomes_a_data_set_with_the_hundred_hardest(tmp_path):
    for seed in range(2):
        write_mirror(tmp_path / f"data/train-{seed:05d}-of-00002.parquet", seed=seed)
    result, table = converted(tmp_path / "data", tmp_path / "jets")
    assert result.n_jets == table.num_rows == 120
    lengths = np.array([len(values) for values in table["ln_pt"].to_pylist()])
    assert lengths.max() == 100
    files = [made_up_file(60, LABELS, seed=s, n_slots=150, max_constituents=140) for s in (0, 1)]
    by_mass = {
        float(mass): (file, jet)
        for file in files
        for jet, mass in enumerate(file.jet_column("j_mass"))
    }
    for row in table.to_pylist():
        file, jet = by_mass[row["mass_gev"]]
        n = len(row["ln_pt"])
        assert row["jet_class"] == LABELS[jet % 5]
        for feature, column in (("eta_rel", "j1_etarel"), ("cos_theta_rel", "j1_costhetarel")):
            np.testing.assert_array_equal(row[feature], file.column(column)[jet, :n])
        np.testing.assert_allclose(row["ln_pt"], np.log(file.column("j1_pt")[jet, :n]), rtol=1e-6)
        assert n == min(100, int((file.column("j1_pt")[jet] > 0).sum()))
    assert read_manifest(tmp_path / "jets").source.startswith("HLS4ML LHC jets")


def test_unsorted_lists_are_sorted_before_they_are_cut(tmp_path):
    file, _ = write_mirror(tmp_path / "jets.parquet", 10)
    table = pq.read_table(tmp_path / "jets.parquet")
    for index, name in enumerate(table.column_names):
        if name.startswith("j1_"):
            turned = [values[::-1] for values in table[name].to_pylist()]
            table = table.set_column(index, name, pa.array(turned, pa.list_(pa.float32())))
    pq.write_table(table, tmp_path / "jets.parquet")
    settings = ConversionSettings(Selection(-inf, inf, LABELS), (1.0, 0.0, 0.0), 1)
    _, jets = converted(tmp_path / "jets.parquet", tmp_path / "out", settings)
    hardest = sorted(np.log(file.column("j1_pt")[:, 0]))
    found = sorted(values[0] for values in jets["ln_pt"].to_pylist())
    np.testing.assert_allclose(found, hardest, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, r"no column label; it has j1_px"),
        ({"j_mass": None}, r"no column j_mass"),
        ({"j1_costhetarel": None}, r"no column j1_costhetarel"),
        ({"label": pa.array([0.5] * 60)}, r"column label is double, it must be a number"),
        (
            {"label": pa.array([*range(5)] * 11 + [0, 1, 2, 3, 7])},
            r"jet 59 has a label that is none",
        ),
        ({"j1_e": pa.array([[1.0]] * 60)}, r"jet 0 has lists j1_pt and j1_e of different lengths"),
        ({"j1_pt": pa.array([1.0] * 60)}, r"column j1_pt is double, it must be a list"),
    ],
)
def test_other_layouts_are_refused_with_the_reason(tmp_path, changes, message):
    write_mirror(tmp_path / "jets.parquet", **changes)
    with pytest.raises(DataError, match=message):
        converted(tmp_path / "jets.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "jets.parquet"
    write_mirror(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a damaged parquet file.*download it again"):
        converted(path, tmp_path / "out")


def test_jets_are_read_in_order_with_their_numbers(tmp_path):
    file, _ = write_mirror(tmp_path / "jets.parquet")
    blocks = list(read_mirror(tmp_path / "jets.parquet", "jets"))
    masses = np.concatenate([block.mass_gev for block in blocks])
    np.testing.assert_array_equal(masses, file.jet_column("j_mass"))
    assert blocks[0].start == 0


def test_the_mirror_is_recognised_by_its_columns(tmp_path):
    write_mirror(tmp_path / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.table({"cluster": [1, 2]}), tmp_path / "clusters.parquet")
    assert is_source(tmp_path / "data")
    assert not is_mirror(tmp_path / "clusters.parquet")
    assert not is_source(tmp_path / "clusters.parquet")
    plan = plan_preparation(DataConfig(path=str(tmp_path / "data")))
    assert not plan.is_ready
    converted(tmp_path / "data", tmp_path / "jets")
    assert not is_source(tmp_path / "jets")
    assert plan_preparation(DataConfig(path=str(tmp_path / "jets"))).is_ready


def test_predicting_asks_for_a_data_set_first(tmp_path):
    write_mirror(tmp_path / "jets.parquet")
    with pytest.raises(DataError, match=r"data convert .*jets.parquet --out DIR"):
        open_hls4ml(tmp_path / "jets.parquet", tmp_path)


def test_hdf5_and_parquet_in_one_folder_are_refused(tmp_path):
    write_mirror(tmp_path / "data" / "jets.parquet")
    made_up_file(5).write(tmp_path / "data" / "jets.h5")
    with pytest.raises(DataError, match="has parquet files and others"):
        converted(tmp_path / "data", tmp_path / "out")


def test_a_git_clone_with_hdf5_files_is_converted(tmp_path):
    """Beside the jets its files hold images, and the clone has other files."""
    import h5py

    clone = tmp_path / "tutorials"
    for number in range(2):
        path = clone / "Data" / "JetDataset" / f"jetImage_7_100p_{number}0000_{number + 1}0000.h5"
        made_up_file(40, seed=number, dtype=np.float64).write(path)
        with h5py.File(path, "a") as file:
            for name in ("jetImage", "jetImageECAL", "jetImageHCAL"):
                file[name] = np.zeros((40, 10, 10))
    (clone / ".git" / "objects").mkdir(parents=True)
    (clone / ".git" / "objects" / "pack.h5").write_bytes(b"no jets")
    (clone / "README.md").write_text("notebooks")
    settings = ConversionSettings(Selection(-inf, inf, ("w", "z", "t")), (0.5, 0.25, 0.25), 1)
    result, _ = converted(clone, tmp_path / "jets", settings)
    assert result.n_jets == 80


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    path = tmp_path / "jetImage_7_100p_0_10000.h5"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100\n")
    with pytest.raises(DataError, match=r"pointer of Git LFS.*git lfs pull"):
        converted(tmp_path, tmp_path / "out")
