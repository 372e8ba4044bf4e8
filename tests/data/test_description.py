"""What `data describe` tells agrees with NumPy over all jets at once."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small_datasets import made_up_jets, write_jets, write_tables
from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.schema import SPLITS, UNLABELLED
from ucluster_tune.data.reading.description import SPECTRA, describe_dataset
from ucluster_tune.errors import DataError


@pytest.fixture
def jets(tmp_path):
    return write_jets(tmp_path / "jets", n_train=300, n_validation=100, n_test=90)


def all_jets(folder):
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def rewrite_manifest(folder, change):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_counts_quantiles_and_ranges(jets):
    found = describe_dataset(jets)
    assert found.faults == ()
    table = all_jets(jets)
    names = table["jet_class"].to_numpy(zero_copy_only=False)
    masses = table["mass_gev"].to_numpy()
    n_constituents = np.array([len(row) for row in table["eta_rel"].to_pylist()])
    for name in ("w", "z", "t"):
        mine = masses[names == name]
        quantiles = found.mass_gev[name]
        assert (quantiles["min"], quantiles["max"]) == (mine.min(), mine.max())
        for key, share in (
            ("q05", 0.05),
            ("q25", 0.25),
            ("q50", 0.5),
            ("q75", 0.75),
            ("q95", 0.95),
        ):
            exact = np.quantile(mine, share, method="inverted_cdf")
            assert quantiles[key] == pytest.approx(exact, abs=0.1)
            counts = n_constituents[names == name]
            assert found.n_constituents[name][key] == np.quantile(
                counts, share, method="inverted_cdf"
            )
    for name in FEATURE_NAMES:
        values = np.concatenate(table[name].to_pylist())
        assert found.features[name]["min"] == np.float32(values.min())
        assert found.features[name]["max"] == np.float32(values.max())
        assert found.features[name]["mean"] == pytest.approx(values.mean(), abs=1e-6)
    train = found.splits["train"]
    assert train.jets == {"w": 100, "z": 100, "t": 100}
    assert (train.n_files, train.n_row_groups) == (1, 19)
    assert train.n_bytes == (jets / "train-00000.parquet").stat().st_size
    assert found.n_bytes == sum(path.stat().st_size for path in jets.glob("*.parquet"))
    assert set(found.splits) == set(SPLITS)


def test_spectra_hold_all_jets_but_the_outermost(jets):
    found = describe_dataset(jets, with_spectra=True)
    assert set(found.spectra) == set(SPECTRA)
    table = all_jets(jets)
    masses = table["mass_gev"].to_numpy()[table["jet_class"].to_numpy(zero_copy_only=False) == "w"]
    spectrum = found.spectra["mass_gev"]
    np.testing.assert_array_equal(spectrum.counts["w"], np.histogram(masses, spectrum.edges)[0])
    n_constituents = len(np.concatenate(table["eta_rel"].to_pylist()))
    for name in FEATURE_NAMES:
        total = sum(int(counts.sum()) for counts in found.spectra[name].counts.values())
        assert 0.99 * n_constituents < total <= n_constituents
    total = sum(int(counts.sum()) for counts in found.spectra["n_constituents"].counts.values())
    assert total >= 0.99 * 490


def test_jets_without_truth_are_counted_apart(tmp_path):
    table = made_up_jets(50)
    index = table.schema.get_field_index("jet_class")
    field = table.schema.field(index)
    unlabelled = made_up_jets(50, seed=1).set_column(index, field, pa.nulls(50, pa.string()))
    folder = write_tables(tmp_path / "jets", {"train": table, "test": unlabelled})
    found = describe_dataset(folder, with_spectra=True)
    assert found.faults == ()
    assert found.splits["test"].jets == {UNLABELLED: 50}
    assert set(found.mass_gev) == {"w", "z", "t", UNLABELLED}


def test_all_altered_files_are_named(jets):
    (jets / "train-00000.parquet").write_bytes(b"short")
    (jets / "test-00000.parquet").unlink()
    found = describe_dataset(jets)
    assert len(found.faults) == 2
    assert "train-00000.parquet: cut short" in found.faults[0]
    assert "test-00000.parquet: missing" in found.faults[1]
    assert found.splits == {}


def test_a_manifest_that_counts_otherwise_is_a_fault(jets):
    def one_more(document):
        document["counts"]["test"]["w"] += 1

    rewrite_manifest(jets, one_more)
    (fault,) = describe_dataset(jets).faults
    assert "test has jets {'w': 30, 'z': 30, 't': 30}, the manifest says {'w': 31" in fault


def test_progress_counts_each_file_twice(jets):
    counted: list[int] = []
    found = describe_dataset(jets, on_bytes=counted.append)
    assert sum(counted) == 2 * found.n_bytes


def test_masses_beyond_the_histogram_are_clipped_to_the_exact_end(tmp_path):
    table = made_up_jets(40)
    index = table.schema.get_field_index("mass_gev")
    masses = pa.array(np.full(40, 5e4, np.float32))
    heavy = table.set_column(index, table.schema.field(index), masses)
    found = describe_dataset(write_tables(tmp_path / "jets", {"train": heavy}))
    assert found.mass_gev["w"]["max"] == 5e4


def test_no_data_set_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        describe_dataset(tmp_path / "nowhere")
