"""Parquet files that lie end in one error, or are read; checksums that fit do not help them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small_datasets import write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.manifest import sha256_of
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.data.reading.description import describe_dataset
from ucluster_tune.errors import DataError

TRAIN = "train-00000.parquet"


@pytest.fixture
def jets(tmp_path):
    return write_jets(tmp_path / "jets", n_train=48)


def adopt(folder):
    """Make the manifest fit the train file, as whoever made the file would."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    for entry in document["files"]:
        if entry["path"] == TRAIN:
            entry["n_bytes"] = (folder / TRAIN).stat().st_size
            entry["sha256"] = sha256_of(folder / TRAIN)
    path.write_text(json.dumps(document))


def outcomes(folder):
    """The message of each reader, None where it read everything."""
    adopt(folder)
    found: list[str | None] = []
    try:
        open_checked_dataset(DataConfig(path=str(folder)), world_size=1).read_share("train")
        found.append(None)
    except DataError as error:
        found.append(str(error))
    faults = describe_dataset(folder, with_spectra=True).faults
    found.append(faults[0] if faults else None)
    assert all("\n" not in message for message in found if message)
    return found


def refused(folder, message):
    for outcome in outcomes(folder):
        assert outcome is not None
        assert message in outcome
        assert TRAIN in outcome


def changed(folder, change):
    table = pq.read_table(folder / TRAIN)
    pq.write_table(change(table), folder / TRAIN, row_group_size=16)


def with_column(table, name, values):
    index = table.schema.get_field_index(name)
    return table.set_column(index, name, values)


def test_sound_files_are_read(jets):
    assert outcomes(jets) == [None, None]


@pytest.mark.parametrize("size", [0, 3, 8, 500, -4, -1])
def test_files_cut_short(jets, size):
    data = (jets / TRAIN).read_bytes()
    (jets / TRAIN).write_bytes(data[:size])
    refused(jets, "not a readable parquet file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["ln_pt"]), "no column ln_pt"),
        (lambda t: t.drop_columns(["mass_gev"]), "no column mass_gev"),
        (
            lambda t: with_column(t, "mass_gev", pa.array(["heavy"] * 48)),
            "column mass_gev holds string",
        ),
        (
            lambda t: with_column(t, "ln_pt", t["ln_pt"].cast(pa.list_(pa.float64()))),
            "column ln_pt holds list",
        ),
        (
            lambda t: with_column(t, "ln_pt", pa.array([[[1.0]]] * 48)),
            "column ln_pt holds list",
        ),
        (
            lambda t: with_column(t, "ln_pt", pa.array([[]] * 48, pa.list_(pa.float32()))),
            "list different numbers of constituents",
        ),
        (
            lambda t: with_column(t, "eta_rel", pa.array([None] * 48, pa.list_(pa.float32()))),
            "jets have no constituents",
        ),
        (
            lambda t: with_column(t, "mass_gev", pa.array([np.nan] * 48, pa.float32())),
            "NaN or infinite",
        ),
        (lambda t: with_column(t, "jet_class", pa.array(["higgs"] * 48)), "unknown class 'higgs'"),
    ],
)
def test_wrong_columns_types_and_values(jets, change, message):
    changed(jets, change)
    refused(jets, message)


def test_more_constituents_than_there_may_be(jets):
    long = pa.array([[0.5] * 101, *[[0.5]] * 47], pa.list_(pa.float32()))

    def lengthen(table):
        for name in table.column_names[2:]:
            table = with_column(table, name, long)
        return table

    changed(jets, lengthen)
    refused(jets, "a jet has 101 constituents, the format allows 100")


def test_flipped_bytes_are_read_or_refused_but_never_a_traceback(jets):
    data = (jets / TRAIN).read_bytes()
    generator = np.random.default_rng(0)
    n_refused = 0
    for turn in range(60):
        damaged = bytearray(data)
        # the footer is at the end, where every byte means something
        first = 0 if turn % 2 else len(data) * 2 // 3
        for place in generator.integers(first, len(data), 3):
            damaged[place] = generator.integers(256)
        (jets / TRAIN).write_bytes(damaged)
        n_refused += any(outcomes(jets))
    assert n_refused > 20


def test_classes_that_are_stored_as_a_dictionary_are_read(jets):
    changed(jets, lambda t: with_column(t, "jet_class", t["jet_class"].dictionary_encode()))
    assert outcomes(jets) == [None, None]
