"""A conversion keeps every selected jet once, unchanged, in a split that the seed draws."""

import shutil
from math import inf

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hls4ml_files import made_up_file, write_folder, write_tar
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.manifest import read_manifest, verify_files
from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.data.hls4ml import conversion, layout
from ucluster_tune.data.hls4ml.conversion import ConversionSettings, convert_dataset
from ucluster_tune.data.making.mixing import JetMixer
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError, MachineError

ALL = ("g", "q", "w", "z", "t")


def of_settings(classes=("w", "z", "t"), mass_min_gev=-inf, mass_max_gev=inf, **changes):
    selection = Selection(mass_min_gev, mass_max_gev, classes)
    return ConversionSettings(selection, **{"fractions": (0.6, 0.2, 0.2), "seed": 1, **changes})


def convert(source, out, changes=None, **options):
    return convert_dataset(
        source, out, of_settings(**(changes or {})), command="a test", **options
    )


def read(folder):
    """All jets by split."""
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    return {
        split: pa.concat_tables(
            [pq.read_table(folder / file.path) for file in manifest.split_files(split)]
        )
        for split in SPLITS
        if manifest.split_files(split)
    }


def numbered_folder(folder, sizes, classes=ALL, **options):
    """Files whose jets have their number, counted through all files, as mass."""
    first = 0
    for index, n_jets in enumerate(sizes):
        file = made_up_file(n_jets, classes, seed=index, **options)
        file.jet_column("j_mass")[:] = 1 + first + np.arange(n_jets)
        file.write(folder / f"jets_{index}.h5", chunks=True)
        first += n_jets
    return folder


def splits_of(folder):
    """Number of each jet to its split."""
    found = {}
    for split, table in read(folder).items():
        for mass in table["mass_gev"].to_pylist():
            assert mass not in found, "a jet came twice"
            found[mass] = split
    return found


def test_jets_and_features_are_those_of_the_file(tmp_path):
    file = made_up_file(120, ALL)
    file.jet_column("j_mass")[:] = 1 + np.arange(120)
    file.write(tmp_path / "jets.h5")
    result = convert(tmp_path / "jets.h5", tmp_path / "out")
    logarithms = {"ln_pt_rel": "j1_ptrel", "ln_energy": "j1_e", "ln_energy_rel": "j1_erel"}
    logarithms["ln_pt"] = "j1_pt"
    plain = {"eta_rel": "j1_etarel", "phi_rel": "j1_phirel", "delta_r": "j1_deltaR"}
    plain["cos_theta_rel"] = "j1_costhetarel"
    n_jets = 0
    for table in read(tmp_path / "out").values():
        for row in table.to_pylist():
            number = int(row["mass_gev"]) - 1
            assert row["jet_class"] == ALL[number % 5]
            n_real = int((file.column("j1_pt")[number] > 0).sum())
            for name in FEATURE_NAMES:
                column = file.column({**plain, **logarithms}[name])[number, :n_real]
                expected = np.log(column) if name in logarithms else column
                np.testing.assert_allclose(row[name], expected, rtol=1e-6)
            n_jets += 1
    assert n_jets == 72 == sum(result.manifest.n_jets(split) for split in SPLITS)
    assert result.n_jets == 120
    assert result.left_out == {"of another class": 48}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_however_files_are_cut_each_selected_jet_comes_once_and_its_split_is_the_seeds(
    tmp_path_factory, data
):
    """Chunks, reads, buckets, row groups, packing and selection change no jet's split."""
    folder = tmp_path_factory.mktemp("cut")
    sizes = data.draw(st.lists(st.integers(20, 70), min_size=1, max_size=3), label="sizes")
    options = {"n_slots": 3, "max_constituents": 3}
    numbered_folder(folder / "files", sizes, **options)
    seed = data.draw(st.integers(0, 5), label="seed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_refuse_empty", lambda *arguments: None)
        convert(folder / "files", folder / "all", {"seed": seed, "classes": ALL})
    reference = splits_of(folder / "all")
    assert set(reference) == set(range(1, sum(sizes) + 1))

    masses = st.lists(st.integers(0, sum(sizes) + 1), min_size=2, max_size=2, unique=True)
    low, high = sorted(data.draw(masses, label="mass"))
    classes = data.draw(st.sets(st.sampled_from(ALL), min_size=1), label="classes")
    changes = {
        "seed": seed,
        "classes": [name for name in ALL if name in classes],
        "mass_min_gev": low,
        "mass_max_gev": high,
    }
    source = folder / "files"
    if data.draw(st.booleans(), label="archive"):
        source = write_tar(folder / "files.tar.gz", source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_JETS_IN_MEMORY", data.draw(st.integers(1, 50)))
        patch.setattr(conversion, "_JETS_AT_A_TIME", data.draw(st.integers(1, 50)))
        rows = data.draw(st.integers(1, 50), label="rows")
        patch.setattr(layout, "_rows_per_read", lambda *arguments: rows)
        patch.setattr(conversion, "_refuse_empty", lambda *arguments: None)
        wanted = {
            n: split
            for n, split in reference.items()
            if low < n < high and ALL[place_in_file(n, sizes) % 5] in classes
        }
        if not wanted:
            with pytest.raises(DataError, match="no jets to write"):
                convert(source, folder / "part", changes)
            return
        size = data.draw(st.integers(1, 50), label="row group")
        convert(source, folder / "part", changes, row_group_size=size)
    assert splits_of(folder / "part") == wanted


def place_in_file(number, sizes):
    place = int(number) - 1
    for size in sizes:
        if place < size:
            return place
        place -= size
    raise AssertionError(number)


def test_pieces_change_no_byte(tmp_path, monkeypatch):
    numbered_folder(tmp_path / "files", [300, 200])
    first = convert(tmp_path / "files", tmp_path / "first").manifest
    monkeypatch.setattr(conversion, "_JETS_IN_MEMORY", 7)
    monkeypatch.setattr(conversion, "_JETS_AT_A_TIME", 13)
    second = convert(write_tar(tmp_path / "f.tar", tmp_path / "files"), tmp_path / "second")
    assert second.manifest.dataset_checksum == first.dataset_checksum


def test_seed_file_and_row_draw_the_split(tmp_path):
    numbered_folder(tmp_path / "files", [400])
    convert(tmp_path / "files", tmp_path / "one", {"classes": ALL})
    convert(tmp_path / "files", tmp_path / "two", {"classes": ALL, "seed": 2})
    one, two = splits_of(tmp_path / "one"), splits_of(tmp_path / "two")
    assert one != two
    # other fractions move jets across a border, and no others
    changes = {"classes": ALL, "fractions": (0.5, 0.3, 0.2)}
    convert(tmp_path / "files", tmp_path / "three", changes)
    moved = {(one[n], split) for n, split in splits_of(tmp_path / "three").items()}
    assert moved == {*((split, split) for split in SPLITS), ("train", "validation")}
    for found in (one, two):
        counts = [sum(split == name for split in found.values()) for name in SPLITS]
        np.testing.assert_allclose(counts, [240, 80, 80], atol=35)


def test_files_of_one_class_each_are_mixed(tmp_path):
    for name in ("w", "z", "t"):
        made_up_file(500, (name,), n_slots=4).write(tmp_path / "files" / f"{name}.h5")
    convert(tmp_path / "files", tmp_path / "out", row_group_size=100)
    file = pq.ParquetFile(tmp_path / "out" / "train-00000.parquet")
    for index in range(file.num_row_groups - 1):
        names = file.read_row_group(index, ["jet_class"])["jet_class"].to_pylist()
        assert all(15 < names.count(name) < 55 for name in ("w", "z", "t"))


def test_files_of_one_name_are_drawn_for_apart(tmp_path):
    numbered_folder(tmp_path / "files" / "train", [100])
    shutil.copytree(tmp_path / "files" / "train", tmp_path / "files" / "val")
    with h5py.File(tmp_path / "files" / "val" / "jets_0.h5", "a") as file:
        names = [name.decode() for name in file["jetFeatureNames"]]
        jets = file["jets"][()]
        jets[:, names.index("j_mass")] += 100
        file["jets"][...] = jets
    convert(tmp_path / "files", tmp_path / "out", {"classes": ALL})
    found = splits_of(tmp_path / "out")
    assert len(found) == 200
    assert [found[n] for n in range(1, 101)] != [found[n] for n in range(101, 201)]


def test_the_manifest_records_the_selection(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=100, classes=ALL)
    result = convert(
        source,
        tmp_path / "out",
        {"mass_min_gev": 60.0, "classes": ("w", "z")},
        origin="doi:10.5281/zenodo.3602254",
    )
    manifest = read_manifest(tmp_path / "out")
    assert manifest == result.manifest
    assert manifest.source == "HLS4ML LHC jets: doi:10.5281/zenodo.3602254"
    assert manifest.classes == ("w", "z")
    recorded = manifest.settings
    assert recorded["classes"] == ["w", "z"]
    assert (recorded["mass_min_gev"], recorded["mass_max_gev"]) == (60.0, None)
    assert (recorded["fractions"], recorded["seed"]) == ([0.6, 0.2, 0.2], 1)
    assert recorded["n_jets_read"] == 300
    sizes = [(path.name, path.stat().st_size) for path in sorted(source.iterdir())]
    assert recorded["files"] == [{"name": name, "n_bytes": size} for name, size in sizes]


def test_what_was_converted_can_be_trained_on(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=60)
    convert(source, tmp_path / "out")
    dataset = open_checked_dataset(DataConfig(path=str(tmp_path / "out")), world_size=2)
    assert dataset.class_names == ("w", "z", "t")
    assert sum(dataset.n_jets(split) for split in SPLITS) == 180


@pytest.mark.parametrize("column", ["j1_etarel", "j1_e", "j1_pt"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_value_that_is_not_finite_is_an_error_or_left_out_on_demand(tmp_path, column, value):
    file = made_up_file(90, dtype=np.float64)
    file.column(column)[40, 0] = value
    if value == 1e300:
        file.column(column)[40, 0] = -1 if column != "j1_etarel" else 1e300
    file.write(tmp_path / "jets.h5")
    message = rf"jets\.h5: jet 40 has values in {column}.* NaN, infinite.*--max-bad-jets"
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "jets.h5", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["jets.h5"]
    result = convert(tmp_path / "jets.h5", tmp_path / "out", {"max_bad_jets": 1})
    assert result.left_out == {"with values that are not finite": 1}
    assert result.manifest.settings["left_out"] == result.left_out


def test_a_mass_that_is_not_finite_is_an_error_under_every_selection(tmp_path):
    file = made_up_file(90)
    file.jet_column("j_mass")[7] = np.nan
    file.write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match="jet 7 has values in j_mass"):
        convert(tmp_path / "jets.h5", tmp_path / "out", {"mass_min_gev": 10, "mass_max_gev": 200})


def test_bad_values_of_jets_that_are_not_selected_do_not_matter(tmp_path):
    file = made_up_file(200, ALL)
    file.constituents[0] = np.nan  # a gluon
    file.write(tmp_path / "jets.h5")
    convert(tmp_path / "jets.h5", tmp_path / "out")


def test_jets_without_constituents_are_left_out_and_counted(tmp_path):
    file = made_up_file(90)
    file.constituents[[3, 50]] = 0
    file.write(tmp_path / "jets.h5")
    result = convert(tmp_path / "jets.h5", tmp_path / "out")
    assert result.left_out == {"without constituents": 2}


def test_a_split_or_class_without_jets_is_an_error(tmp_path):
    made_up_file(30).write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match=r"no train jets of class q: 30 jets were read.*--classes"):
        convert(tmp_path / "jets.h5", tmp_path / "out", {"classes": ("q", "w")})
    with pytest.raises(DataError, match="no validation jets of class w"):
        convert(tmp_path / "jets.h5", tmp_path / "out", {"fractions": (0.9999, 0.00005, 0.00005)})
    with pytest.raises(DataError, match="30 outside the mass range"):
        convert(tmp_path / "jets.h5", tmp_path / "out", {"mass_max_gev": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["jets.h5"]


def test_files_without_truth_or_without_jets_are_refused(tmp_path):
    file = made_up_file(30)
    names, file.jet_names = file.jet_names, [n.replace(b"j_w", b"j_x") for n in file.jet_names]
    file.write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match="only some classes: jets has no column j_w: a"):
        convert(tmp_path / "jets.h5", tmp_path / "out")
    file.jet_names = [n if n == b"j_mass" else b"x" for n in names]
    file.write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match="has no columns j_g, j_q, j_w, j_z, j_t"):
        convert(tmp_path / "jets.h5", tmp_path / "out")
    made_up_file(0).write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match=r"jets\.h5: jets has no rows: there are no jets"):
        convert(tmp_path / "jets.h5", tmp_path / "out")


def test_all_files_are_looked_at_before_the_first_is_read(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=50)
    last = source / "jetImage_2_100p.h5"
    last.write_bytes(last.read_bytes()[:3000])
    read_bytes: list[int] = []
    with pytest.raises(DataError, match=r"jetImage_2_100p\.h5: a damaged HDF5 file"):
        convert(source, tmp_path / "out", on_bytes=read_bytes.append)
    assert read_bytes == []


def test_progress_comes_to_the_size_that_was_told(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=50)
    for index, path in enumerate((source, write_tar(tmp_path / "files.tar.gz", source))):
        told: list[int] = []
        counted: list[int] = []
        convert(path, tmp_path / f"out{index}", on_size=told.append, on_bytes=counted.append)
        assert sum(counted) == told[0] > 0


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("kind", [Interrupted, OSError(28, "No space left on device")])
def test_an_interrupted_conversion_leaves_nothing_and_can_be_started_again(
    tmp_path, monkeypatch, kind
):
    source = write_folder(tmp_path / "files", n_jets=50)
    (tmp_path / "out").mkdir()
    add = JetMixer.add
    calls = []

    def fail_the_second_time(self, table, keys):
        calls.append(1)
        if len(calls) == 2:
            raise kind
        add(self, table, keys)

    monkeypatch.setattr(JetMixer, "add", fail_the_second_time)
    with pytest.raises(Interrupted if kind is Interrupted else MachineError):
        convert(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "out"]
    assert list((tmp_path / "out").iterdir()) == []
    assert convert(source, tmp_path / "out").n_jets == 150


def test_nothing_is_overwritten(tmp_path):
    source = write_folder(tmp_path / "files", n_jets=50)
    with pytest.raises(DataError, match="not empty"):
        convert(source, source)


@pytest.mark.parametrize("has_classes", [True, False])
def test_jets_are_converted_without_their_classes(tmp_path, has_classes):
    file = made_up_file(60, ("w", "t", "undef"))
    if not has_classes:
        file.jet_names = [n.replace(b"j_w", b"j_x") for n in file.jet_names]
    file.write(tmp_path / "jets.h5")
    found = convert(tmp_path / "jets.h5", tmp_path / "out", {"classes": ()})
    tables = read(tmp_path / "out")
    assert sum(table.num_rows for table in tables.values()) == 60  # those of no class too
    assert all(table["jet_class"].null_count == table.num_rows for table in tables.values())
    assert found.manifest.classes == ()
    assert found.manifest.settings["classes"] == []
    config = DataConfig(path=str(tmp_path / "out"), mass_max_gev=1000.0)
    assert not open_checked_dataset(config, 1).is_labelled


def test_a_file_without_classes_says_how_it_is_converted(tmp_path):
    file = made_up_file(20)
    file.jet_names = [n.replace(b"j_w", b"j_x") for n in file.jet_names]
    file.write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match="convert --classes none"):
        convert(tmp_path / "jets.h5", tmp_path / "out")
