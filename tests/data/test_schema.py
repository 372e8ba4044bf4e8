"""The columns of a file of jets."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.schema import FORMAT_KEY, jets_schema, jets_table


def test_columns_are_class_mass_and_features_in_order_of_the_network_input():
    assert jets_schema().names == ["jet_class", "mass_gev", *FEATURE_NAMES]
    assert jets_schema().field("jet_class").nullable
    assert jets_schema().metadata == {FORMAT_KEY: b"2"}


def test_table_holds_each_jets_constituents():
    features = np.arange(24, dtype=np.float32).reshape(3, 8)
    table = jets_table(["w", None], np.array([80.0, 90.0]), np.array([2, 1]), features)
    assert table.schema.equals(jets_schema(), check_metadata=True)
    assert table["jet_class"].to_pylist() == ["w", None]
    assert table["mass_gev"].to_pylist() == [80.0, 90.0]
    assert table["eta_rel"].to_pylist() == [[0.0, 8.0], [16.0]]
    assert table["cos_theta_rel"].to_pylist() == [[7.0, 15.0], [23.0]]


def test_schema_survives_a_parquet_file(tmp_path):
    table = jets_table(["t"], np.array([170.0]), np.array([1]), np.zeros((1, 8)))
    pq.write_table(table, tmp_path / "jets.parquet")
    assert pq.read_schema(tmp_path / "jets.parquet").equals(jets_schema(), check_metadata=True)


def test_no_jets_make_an_empty_table():
    table = jets_table([], np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros((0, 8)))
    assert table.num_rows == 0
    assert isinstance(table, pa.Table)


@pytest.mark.parametrize(("n_constituents", "n_rows"), [([2], 3), ([0], 0), ([101], 101)])
def test_wrong_numbers_of_constituents_are_refused(n_constituents, n_rows):
    with pytest.raises(ValueError, match="must"):
        jets_table(["w"], np.ones(1), np.array(n_constituents), np.zeros((n_rows, 8)))
