"""The file of a prediction: whole or not there."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ucluster_tune.data.making.predictions import METADATA_KEY, PredictionWriter, prediction_schema
from ucluster_tune.data.reading.jet_source import Origin
from ucluster_tune.errors import DataError, MachineError

SCHEMA = prediction_schema(3, 2, {"model": "a test"})
ORIGINS = [
    *(Origin("train", "train-00000.parquet", first, 3) for first in (0, 3)),
    Origin("train", "train-00001.parquet", 0, 0),
    Origin(None, "jets.h5", 7, 200_000),
]


def parts(*sizes):
    generator = np.random.default_rng(0)
    return [
        (
            generator.integers(0, 3, n),
            generator.normal(size=(n, 2)).astype(np.float32),
            generator.uniform(size=(n, 3)).astype(np.float32),
            np.where(np.arange(n) % 2, np.nan, 80.5).astype(np.float32),
            np.where(np.arange(n) % 2, -1, 2),
        )
        for n in sizes
    ]


def test_rows_are_numbered_over_all_parts(tmp_path):
    written = parts(4, 1, 5)
    with PredictionWriter(tmp_path / "out" / "clusters.parquet", SCHEMA, ORIGINS) as writer:
        for part in written:
            writer.write(*part)
    table = pq.read_table(tmp_path / "out" / "clusters.parquet")
    assert table.column_names == [
        *("jet", "split", "file", "row", "jet_class", "mass_gev"),
        *("cluster", "embedding_0", "embedding_1"),
        *("distance_0", "distance_1", "distance_2"),
    ]
    assert table["jet"].to_pylist() == list(range(10))
    assert table["split"].to_pylist() == ["train"] * 6 + [None] * 4
    assert table["file"].to_pylist() == ["train-00000.parquet"] * 6 + ["jets.h5"] * 4
    assert table["row"].to_pylist() == [*range(6), 7, 8, 9, 10]
    known = [True, False] * 2 + [True] + [True, False] * 2 + [True]
    assert table["jet_class"].to_pylist() == ["w" if is_known else None for is_known in known]
    assert table["mass_gev"].to_pylist() == [80.5 if is_known else None for is_known in known]
    cluster, embedding, distances, *_ = (np.concatenate(p) for p in zip(*written, strict=True))
    assert np.array_equal(table["cluster"].to_numpy(), cluster)
    for index in range(2):
        assert np.array_equal(table[f"embedding_{index}"].to_numpy(), embedding[:, index])
    for index in range(3):
        assert np.array_equal(table[f"distance_{index}"].to_numpy(), distances[:, index])
    assert json.loads(table.schema.metadata[METADATA_KEY]) == {"model": "a test"}


def test_a_csv_file_has_the_same_rows(tmp_path):
    for ending in ("csv", "parquet"):
        with PredictionWriter(tmp_path / f"clusters.{ending}", SCHEMA, ORIGINS) as writer:
            for part in parts(4, 6):
                writer.write(*part)
    wanted = pq.read_table(tmp_path / "clusters.parquet").to_pandas()
    found = pd.read_csv(tmp_path / "clusters.csv")
    assert list(found.columns) == list(wanted.columns)
    assert found["file"].tolist() == wanted["file"].tolist()
    assert found["jet_class"].isna().tolist() == wanted["jet_class"].isna().tolist()
    for name in ("row", "mass_gev", "cluster", "embedding_1", "distance_2"):
        assert found[name].to_numpy() == pytest.approx(wanted[name].to_numpy(), nan_ok=True)


def test_a_failure_leaves_nothing(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        PredictionWriter(tmp_path / "clusters.parquet", SCHEMA, ORIGINS) as writer,
    ):
        writer.write(*parts(3)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "clusters.parquet").write_text("precious")
    with pytest.raises(DataError, match="nothing is ever overwritten"):
        PredictionWriter(tmp_path / "clusters.parquet", SCHEMA, ORIGINS)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(MachineError, match=r"clusters\.parquet: cannot be written: "),
        PredictionWriter(tmp_path / "file" / "clusters.parquet", SCHEMA, ORIGINS),
    ):
        pass


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    """The temporary file leads to a device that is always full."""
    monkeypatch.setattr("secrets.token_hex", lambda n: "full")
    (tmp_path / ".clusters.part-full.parquet").symlink_to("/dev/full")
    with (
        pytest.raises(MachineError, match="No space left on device; free some space"),
        PredictionWriter(tmp_path / "clusters.parquet", SCHEMA, ORIGINS) as writer,
    ):
        for part in parts(*[5000] * 20):
            writer.write(*part)
    assert list(tmp_path.iterdir()) == []
