"""Parquet files that lie end in one error, or are read; checksums that fit do not help them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.peak_memory import growth_mib
from tests.small_datasets import write_jets
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import FEATURE_NAMES
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


def test_a_bomb_of_repeated_values_is_not_unpacked(jets):
    """Two million jets in one row group take a tenth of a megabyte, as they repeat."""
    n_jets = 2_000_000
    one = pq.read_table(jets / TRAIN).slice(0, 1).to_pydict()
    first = pa.table(
        {
            name: [values[0][:1]] if name in FEATURE_NAMES else values
            for name, values in one.items()
        },
        schema=pq.read_schema(jets / TRAIN),
    )
    bomb = first.take(pa.array(np.zeros(n_jets, np.int64)))
    pq.write_table(bomb, jets / TRAIN, row_group_size=n_jets, compression="zstd")
    assert (jets / TRAIN).stat().st_size < 100_000
    refused(jets, "2000000 jets with 2000000 values in a column; the format allows 1000000 jets")


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


def test_a_long_class_name_is_held_once_and_told_in_part(jets):
    """400 000 jets whose class is one name of 20 000 characters: 8 GB, where it is repeated."""
    n_jets = 400_000
    table = pq.read_table(jets / TRAIN).slice(0, 1)
    for name in FEATURE_NAMES:
        table = with_column(table, name, pa.array([[0.5]], pa.list_(pa.float32())))
    table = table.take(pa.array(np.zeros(n_jets, np.int64)))
    codes = pa.array(np.zeros(n_jets, np.int32))
    long = pa.DictionaryArray.from_arrays(codes, pa.array(["w" * 20_000]))
    table = with_column(table, "jet_class", long)
    pq.write_table(table, jets / TRAIN, row_group_size=n_jets, store_schema=False)
    assert (jets / TRAIN).stat().st_size < 100_000
    adopt(jets)
    growth, told = growth_mib(
        "import sys\n"
        "from ucluster_tune.config.trial import DataConfig\n"
        "from ucluster_tune.data.reading.dataset import open_dataset\n"
        "from ucluster_tune.data.reading.description import describe_dataset\n"
        "from ucluster_tune.errors import DataError\n",
        "print(*describe_dataset(sys.argv[1]).faults)\n"
        "try: open_dataset(DataConfig(path=sys.argv[1]))\n"
        "except DataError as error: print(error)",
        jets,
    )
    assert told.count(f"unknown class '{'w' * 40}'...") == 2
    assert "w" * 41 not in told
    assert growth < 300


def test_class_names_that_take_much_room_are_not_read(jets):
    names = pa.array([f"{index:05d}" + "w" * 20_000 for index in range(48)])
    changed(jets, lambda table: with_column(table, "jet_class", names))
    table = pq.read_table(jets / TRAIN)
    pq.write_table(table, jets / TRAIN, use_dictionary=False)
    refused(jets, "column jet_class takes 960")


def test_classes_that_are_stored_as_a_dictionary_are_read(jets):
    changed(jets, lambda t: with_column(t, "jet_class", t["jet_class"].dictionary_encode()))
    assert outcomes(jets) == [None, None]
