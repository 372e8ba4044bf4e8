"""Opening and reading a data set; each fault of one is one error that names file and way out."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small_datasets import made_up_jets, write_jets, write_tables
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.schema import jets_table
from ucluster_tune.data.reading.dataset import open_checked_dataset, open_dataset
from ucluster_tune.data.reading.description import describe_dataset
from ucluster_tune.errors import DataError

SAMPLE = Path(__file__).parents[2] / "search_spaces" / "data" / "wzt_sample"


@pytest.fixture
def jets_folder(tmp_path):
    return write_jets(tmp_path / "jets")


def opened(folder, **selection):
    return open_dataset(DataConfig(path=str(folder), **selection))


def rewrite(path, change):
    """Change the table of a file and describe it in the manifest, as another program would."""
    table = change(pq.read_table(path))
    pq.write_table(table, path, row_group_size=16)
    manifest_path = path.parent / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    for file in manifest["files"]:
        if file["path"] == path.name:
            file["n_bytes"] = path.stat().st_size
            file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest_path.write_text(json.dumps(manifest))


def with_column(name, values):
    """A change that replaces a column."""

    def change(table):
        return table.set_column(table.schema.get_field_index(name), name, values(table[name]))

    return change


def flat_values_changed(name, position, value):
    """A change of one constituent's feature, counted over all jets of the file."""

    def values(column):
        lists = column.combine_chunks()
        flat = lists.values.to_numpy(zero_copy_only=False).copy()
        flat[position] = value
        return pa.ListArray.from_arrays(lists.offsets, pa.array(flat), type=lists.type)

    return with_column(name, values)


def test_committed_sample_is_read():
    dataset = opened(SAMPLE)
    assert dataset.class_names == ("w", "z", "t")
    counts = dataset.counts("train")
    assert dataset.n_jets("train") == sum(counts.values())
    assert all(0 < counts[name] <= 3200 for name in counts)
    jets = dataset.read_share("validation")
    assert len(jets) == dataset.n_jets("validation")
    in_order = [int(np.count_nonzero(jets.jet_class == index)) for index in range(3)]
    assert in_order == list(dataset.counts("validation").values())
    assert np.isfinite(jets.features).all()
    assert ((jets.mass_gev > 10) & (jets.mass_gev < 200)).all()
    tops = jets.mass_gev[jets.jet_class == 2]
    assert 130 < np.median(tops) < 175, "class 2 must be the top; a third is not contained"


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_ranks_read_all_jets_once(jets_folder, world_size):
    dataset = opened(jets_folder)
    shares = [dataset.read_share("train", rank, world_size) for rank in range(world_size)]
    assert [len(share) for share in shares] == dataset.n_jets_by_rank("train", world_size)
    whole = dataset.read_share("train")
    masses = np.concatenate([share.mass_gev for share in shares])
    assert sorted(masses) == sorted(whole.mass_gev)
    rows = np.concatenate([share.features for share in shares])
    assert sorted(rows[:, 0]) == sorted(whole.features[:, 0])


def test_jets_are_those_that_were_written(tmp_path):
    table = made_up_jets(40, seed=5)
    folder = write_tables(tmp_path / "jets", dict.fromkeys(("train", "validation", "test"), table))
    jets = opened(folder).read_share("train")
    assert jets.mass_gev.tolist() == table["mass_gev"].to_pylist()
    names = np.array(["w", "z", "t"])
    assert names[jets.jet_class].tolist() == table["jet_class"].to_pylist()
    for jet in (0, 7, 39):
        first = jets.first_rows[jet]
        for column, name in enumerate(FEATURE_NAMES):
            written = table[name][jet].as_py()
            read = jets.features[first : first + len(written), column]
            assert read.tolist() == written
            assert jets.features[first + len(written), column] == 0.0, "the padded row"


def test_masses_and_classes_alone_are_those_of_the_jets(jets_folder):
    dataset = opened(jets_folder, mass_min_gev=80.0)
    jets = dataset.read_share("test")
    mass_gev, jet_class = dataset.read_masses("test")
    assert np.array_equal(mass_gev, jets.mass_gev)
    assert np.array_equal(jet_class, jets.jet_class)


def test_selection_by_mass_leaves_out_its_ends(tmp_path):
    table = jets_table(
        ["w"] * 5, np.array([10.0, 10.5, 50.0, 199.5, 200.0]), np.ones(5, int), np.ones((5, 8))
    )
    folder = write_tables(tmp_path / "jets", dict.fromkeys(("train", "validation", "test"), table))
    assert opened(folder).read_share("train").mass_gev.tolist() == [10.5, 50.0, 199.5]


def test_selection_by_class_keeps_the_format_s_order(tmp_path):
    folder = write_jets(tmp_path / "jets", classes=("w", "z", "t", "q", "g"))
    dataset = opened(folder, classes=("t", "g"))
    assert dataset.class_names == ("g", "t")
    jets = dataset.read_share("train")
    assert (jets.mass_gev[jets.jet_class == 0] < 60).all()
    assert (jets.mass_gev[jets.jet_class == 1] > 120).all()
    assert len(jets) == sum(dataset.counts("train").values()) == 24


def fault(folder, message, **selection):
    """Check that opening and reading gives one `DataError`, of one line."""
    with pytest.raises(DataError, match=message) as raised:
        opened(folder, **selection).check_values()
    text = str(raised.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def test_missing_file(jets_folder):
    (jets_folder / "train-00000.parquet").unlink()
    text = fault(jets_folder, r"train-00000\.parquet: missing")
    assert "copy the data set again" in text


def test_file_cut_short(jets_folder):
    path = jets_folder / "test-00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    text = fault(jets_folder, r"test-00000\.parquet: has \d+ bytes, the manifest says \d+")
    assert "cut short" in text
    assert "copy the data set again" in text


def test_truncated_file_of_the_listed_size(jets_folder):
    path = jets_folder / "train-00000.parquet"
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:half].ljust(2 * half + path.stat().st_size % 2, b"\0"))
    text = fault(jets_folder, r"train-00000\.parquet: not a readable parquet file")
    assert "copy the data set again" in text


def test_damaged_bytes_inside_a_column(jets_folder):
    path = jets_folder / "train-00000.parquet"
    metadata = pq.ParquetFile(path).metadata.row_group(1).column(4)
    start = metadata.data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + metadata.total_compressed_size] = b"\xff" * (
        metadata.total_compressed_size
    )
    path.write_bytes(bytes(damaged))
    fault(jets_folder, r"train-00000\.parquet: not a readable parquet file")


def test_folder_in_the_place_of_a_file(jets_folder):
    path = jets_folder / "train-00000.parquet"
    path.unlink()
    path.mkdir()
    fault(jets_folder, r"train-00000\.parquet")


def test_missing_column(jets_folder):
    path = jets_folder / "train-00000.parquet"
    rewrite(path, lambda table: table.drop_columns(["ln_pt"]))
    text = fault(jets_folder, r"train-00000\.parquet: no column ln_pt; it has jet_class, mass_gev")
    assert "make it again" in text


def test_column_of_another_type(jets_folder):
    path = jets_folder / "validation-00000.parquet"
    rewrite(path, with_column("mass_gev", lambda column: column.cast(pa.float64())))
    fault(jets_folder, r"column mass_gev holds double, the format says float")


def test_feature_that_is_no_list(jets_folder):
    path = jets_folder / "validation-00000.parquet"
    rewrite(path, with_column("delta_r", lambda column: pa.array(np.ones(len(column), "f4"))))
    fault(jets_folder, r"column delta_r holds float, the format says list")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_feature_that_is_not_finite(jets_folder, value):
    path = jets_folder / "validation-00000.parquet"
    rewrite(path, flat_values_changed("eta_rel", -1, value))
    text = fault(
        jets_folder,
        r"validation-00000\.parquet, row group 1, column eta_rel: 1 values are NaN or infinite",
    )
    assert "make it again" in text


def test_mass_that_is_not_finite(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def with_nan(column):
        values = column.to_numpy().copy()
        values[3] = np.nan
        return pa.array(values)

    rewrite(path, with_column("mass_gev", with_nan))
    fault(jets_folder, r"train-00000\.parquet, row group 0, column mass_gev: values")


def test_mass_that_is_missing(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def with_null(column):
        return pa.array([None, *column.to_pylist()[1:]], pa.float32())

    rewrite(path, with_column("mass_gev", with_null))
    fault(jets_folder, r"train-00000\.parquet, row group 0, column mass_gev")


def test_lists_of_different_lengths(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def shortened(column):
        lists = column.to_pylist()
        return pa.array([lists[0][:-1], *lists[1:]], column.type)

    rewrite(path, with_column("phi_rel", shortened))
    fault(jets_folder, r"columns eta_rel and phi_rel list different numbers of constituents")


def test_list_that_is_missing(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def with_null(column):
        return pa.array([None, *column.to_pylist()[1:]], pa.list_(pa.float32()))

    def change(table):
        for name in FEATURE_NAMES:
            table = with_column(name, with_null)(table)
        return table

    rewrite(path, change)
    fault(jets_folder, r"train-00000\.parquet, row group 0: 1 jets have no constituents")


def test_too_many_constituents(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def lengthened(column):
        lists = column.to_pylist()
        return pa.array([[0.5] * 101, *lists[1:]], column.type)

    def change(table):
        for name in FEATURE_NAMES:
            table = with_column(name, lengthened)(table)
        return table

    rewrite(path, change)
    fault(jets_folder, r"a jet has 101 constituents, the format allows 100")


def test_class_without_jets_in_a_split(tmp_path):
    splits = {
        "train": made_up_jets(30),
        "validation": made_up_jets(30, classes=("w", "z")),
        "test": made_up_jets(30),
    }
    folder = write_tables(tmp_path / "jets", splits)
    text = fault(folder, r"no validation jets of class t with 10 < mass < 200 GeV")
    assert "leave the class out of data.classes" in text


def test_no_jets_after_the_selection(jets_folder):
    text = fault(
        jets_folder, r"no train jets of w, z, t with 190 < mass < 199 GeV",
        mass_min_gev=190.0, mass_max_gev=199.0,
    )  # fmt: skip
    assert "widen data.mass_min_gev and data.mass_max_gev" in text


def test_class_emptied_by_the_mass_window(jets_folder):
    fault(jets_folder, r"no train jets of class t with", mass_max_gev=120.0)


def test_split_without_files(tmp_path):
    folder = write_tables(
        tmp_path / "jets", {"train": made_up_jets(30), "validation": made_up_jets(30)}
    )
    fault(folder, r"no test jets of w, z, t")


def test_class_that_the_data_set_does_not_have(jets_folder):
    text = fault(jets_folder, r"has no jets of class g;", classes=("w", "g"))
    assert "data.classes can name w, z, t" in text


def test_jets_without_class(jets_folder):
    path = jets_folder / "train-00000.parquet"

    def with_null(column):
        return pa.array([None, *column.to_pylist()[1:]], pa.string())

    rewrite(path, with_column("jet_class", with_null))
    text = fault(jets_folder, r"train-00000\.parquet, row group 0, column jet_class: 1 jets")
    assert "labelled jets" in text
    assert "either all of a data set have a class, or none has" in text


def test_jets_of_which_none_has_a_class_are_read_as_they_are(tmp_path):
    folder = write_jets(tmp_path / "jets", is_labelled=False)
    dataset = opened(folder, mass_max_gev=120.0)
    assert (dataset.is_labelled, dataset.class_names) == (False, ())
    labelled = opened(write_jets(tmp_path / "same"), mass_max_gev=120.0, classes=["w", "z"])
    assert dataset.counts("train") == {"unlabelled": sum(labelled.counts("train").values())}
    jets, same = dataset.read_share("train"), labelled.read_share("train")
    assert (jets.jet_class == -1).all()
    assert np.array_equal(jets.features, same.features)
    mass_gev, jet_class = dataset.read_masses("train")
    assert np.array_equal(mass_gev, labelled.read_masses("train")[0])
    assert (jet_class == -1).all()


def test_what_needs_classes_is_refused_for_jets_that_have_none(tmp_path):
    folder = write_jets(tmp_path / "jets", is_labelled=False)
    assert "leave data.classes out" in fault(folder, r"its jets have no classes", classes=["w"])
    config = DataConfig(path=str(folder))
    open_checked_dataset(config, 1, needing_labels=())
    with pytest.raises(DataError, match=r"here ari, would need.*objective\.metric=silhouette"):
        open_checked_dataset(config, 1, needing_labels=("ari",))


@pytest.mark.parametrize("what", ["a class", "fewer jets"])
def test_jets_without_classes_are_those_that_the_manifest_tells_of(tmp_path, what):
    folder = write_jets(tmp_path / "jets", is_labelled=False)
    path = folder / "train-00000.parquet"
    if what == "a class":
        rewrite(path, with_column("jet_class", lambda c: pa.array(["w"] * len(c), pa.string())))
    else:
        rewrite(path, lambda table: table.slice(1))
    fault(folder, r"train has jets .*manifest\.json says" if what == "fewer jets" else r"w")


def test_unknown_class(jets_folder):
    path = jets_folder / "train-00000.parquet"
    rewrite(
        path,
        with_column("jet_class", lambda column: pa.array(["higgs", *column.to_pylist()[1:]])),
    )
    fault(jets_folder, r"unknown class 'higgs'; classes are g, q, w, z, t")


def test_newer_parquet_files(jets_folder):
    path = jets_folder / "train-00000.parquet"
    rewrite(path, lambda table: table.replace_schema_metadata({"ucluster_tune_format": "3"}))
    text = fault(jets_folder, r"train-00000\.parquet: format version 3 is newer than 2")
    assert "upgrade ucluster-tune" in text


def test_newer_manifest(jets_folder):
    path = jets_folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 3}))
    text = fault(jets_folder, r"manifest\.json: format_version 3 is newer than 2")
    assert "upgrade ucluster-tune" in text


def test_folder_without_manifest(jets_folder):
    (jets_folder / "manifest.json").unlink()
    fault(jets_folder, r"no manifest\.json, though there are parquet files")


def test_only_splits_that_are_asked_for_are_looked_at(jets_folder):
    config = DataConfig(path=str(jets_folder))
    whole = open_dataset(config)
    (jets_folder / "test-00000.parquet").write_bytes(b"not looked at")
    dataset = open_dataset(config, ("train", "validation"))
    for split in ("train", "validation"):
        assert dataset.row_groups[split] == whole.row_groups[split]
        assert dataset.counts(split) == whole.counts(split)
    with pytest.raises(DataError, match=r"test-00000\.parquet: has 13 bytes"):
        open_dataset(config, ("test",))


def test_values_that_were_read_before_are_not_read_again_where_the_files_are_the_same(jets_folder):
    path = jets_folder / "validation-00000.parquet"
    rewrite(path, flat_values_changed("delta_r", 3, np.nan))
    config = DataConfig(path=str(jets_folder))
    with pytest.raises(DataError, match="delta_r: 1 values are NaN"):
        open_checked_dataset(config, 2)
    with pytest.raises(DataError, match="delta_r: 1 values are NaN"):
        open_checked_dataset(config, 2, "another checksum")
    checksum = open_dataset(config).manifest.dataset_checksum
    assert open_checked_dataset(config, 2, checksum).n_jets("train") == 60
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(DataError, match=r"validation-00000\.parquet"):
        open_checked_dataset(config, 2, checksum)


def padded(table):
    """The same jets, each list filled up with zeros to 100 constituents."""
    for name in FEATURE_NAMES:
        lists = [values + [0.0] * (100 - len(values)) for values in table[name].to_pylist()]
        column = pa.array(lists, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def reversed_lists(table):
    """The same jets, each list in ascending pt."""
    for name in FEATURE_NAMES:
        lists = [values[::-1] for values in table[name].to_pylist()]
        column = pa.array(lists, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (padded, "jet 0 has padding among its constituents: leave it out"),
        (reversed_lists, "jet 0 has constituents that are not in descending pt: sort its lists"),
    ],
)
def test_lists_that_are_not_as_promised_are_refused(jets_folder, change, told):
    rewrite(jets_folder / "test-00000.parquet", change)
    with pytest.raises(DataError, match=told):
        open_checked_dataset(DataConfig(path=str(jets_folder)), world_size=1)


def test_a_manifest_that_counts_other_jets_is_refused(jets_folder):
    path = jets_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["test"]["w"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"test has jets .*'w': 10.*manifest.json says .*'w': 11"):
        opened(jets_folder)


def test_features_in_another_order_are_refused(jets_folder):
    path = jets_folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["features"].reverse()
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="in this order"):
        opened(jets_folder)


@pytest.fixture
def mixed_up(tmp_path):
    """A data set of which 7 test jets are train jets too."""
    train, test = made_up_jets(60), made_up_jets(30, seed=2)
    tables = {
        "train": train,
        "validation": made_up_jets(30, seed=1),
        "test": pa.concat_tables([test, train.slice(9, 7)]),
    }
    return write_tables(tmp_path / "mixed up", tables)


def test_a_jet_in_two_splits_is_refused_when_a_study_begins(mixed_up):
    with pytest.raises(DataError, match="7 of 37 test jets are train jets too: accuracies on"):
        open_checked_dataset(DataConfig(path=str(mixed_up)), world_size=1)


def test_a_jet_in_two_splits_is_a_fault_of_a_described_data_set(mixed_up):
    found = describe_dataset(mixed_up)
    assert found.faults == (f"{mixed_up}: 7 of 37 test jets are train jets too",)


def test_a_jet_that_is_twice_in_a_split_is_remarked_upon(tmp_path):
    jets = made_up_jets(60)
    tables = {"train": pa.concat_tables([jets, jets.slice(0, 4)])}
    found = describe_dataset(write_tables(tmp_path / "jets", tables))
    assert (found.faults, found.remarks) == ((), ("4 train jets are there twice",))


def encoded_otherwise(table):
    """The same jets as other programs write them, with a column of their own."""
    columns = {
        "tracks": pa.array([["a", None]] * len(table)),
        "jet_class": table["jet_class"].cast(pa.large_string()),
        "mass_gev": table["mass_gev"],
        **{name: table[name].cast(pa.large_list(pa.float32())) for name in FEATURE_NAMES},
    }
    return pa.table(columns)


def test_the_same_jets_in_another_encoding_of_arrow_are_read(tmp_path, jets_folder):
    other = write_jets(tmp_path / "other")
    for split in ("train", "validation", "test"):
        rewrite(other / f"{split}-00000.parquet", encoded_otherwise)
    dataset = open_checked_dataset(DataConfig(path=str(other)), world_size=1)
    as_written, as_ours = dataset.read_share("train"), opened(jets_folder).read_share("train")
    np.testing.assert_array_equal(as_written.features, as_ours.features)
    np.testing.assert_array_equal(as_written.jet_class, as_ours.jet_class)
    assert describe_dataset(other).faults == ()


def test_a_column_that_is_there_twice_is_told_as_such(jets_folder):
    rewrite(
        jets_folder / "train-00000.parquet",
        lambda table: table.append_column("mass_gev", table["mass_gev"]),
    )
    with pytest.raises(DataError, match=r"train-00000.parquet: 2 columns mass_gev; it has"):
        opened(jets_folder)


def test_parquet_files_of_another_program_are_told_what_becomes_of_them(tmp_path):
    path = tmp_path / "jets" / "data.parquet"
    path.parent.mkdir()
    pq.write_table(made_up_jets(3), path)
    for place in (path, path.parent):
        with pytest.raises(DataError, match="HLS4ML mirror are converted by `ucluster-tune data"):
            opened(place)
