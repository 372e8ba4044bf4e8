"""A data set is written whole or not at all."""

import errno
import os
import resource

import numpy as np
import pyarrow.parquet as pq
import pytest

from ucluster_tune.data.format.manifest import read_manifest, verify_files
from ucluster_tune.data.format.schema import jets_schema, jets_table
from ucluster_tune.data.making.writer import check_target, write_dataset
from ucluster_tune.errors import DataError, MachineError


def jets(n_jets, jet_class="w"):
    """Jets with one constituent each, told apart by their mass."""
    features = np.random.default_rng(0).normal(size=(n_jets, 8)).astype(np.float32)
    ones = np.ones(n_jets, dtype=np.int64)
    return jets_table([jet_class] * n_jets, np.arange(n_jets), ones, features)


def write(folder, tables=None, **options):
    return write_dataset(
        folder,
        {"train": jets(10), "test": jets(3, "t")} if tables is None else tables,
        name="jets",
        source="a test",
        command="pytest",
        settings={},
        **options,
    )


def test_files_hold_the_jets_in_row_groups(tmp_path):
    manifest = write(tmp_path / "jets", row_group_size=4)
    file = pq.ParquetFile(tmp_path / "jets" / "train-00000.parquet")
    assert file.schema_arrow.equals(jets_schema(), check_metadata=True)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 2]
    assert file.read().equals(jets(10))
    column = file.metadata.row_group(0).column(2)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    entry = manifest.files[0]
    assert (entry.path, entry.split, entry.n_jets) == ("train-00000.parquet", "train", 10)
    assert entry.n_row_groups == 3


def test_manifest_on_disk_is_the_one_returned_and_fits_the_files(tmp_path):
    manifest = write(tmp_path / "jets")
    assert read_manifest(tmp_path / "jets") == manifest
    verify_files(tmp_path / "jets", manifest)
    assert manifest.counts == {"train": {"w": 10, "t": 0}, "test": {"w": 0, "t": 3}}


def test_large_splits_go_into_several_files(tmp_path):
    manifest = write(tmp_path / "jets", jets_per_file=4)
    assert [(file.path, file.n_jets) for file in manifest.split_files("train")] == [
        ("train-00000.parquet", 4),
        ("train-00001.parquet", 4),
        ("train-00002.parquet", 2),
    ]


def test_equal_jets_make_equal_files(tmp_path):
    first, second = write(tmp_path / "first"), write(tmp_path / "second")
    assert first.dataset_checksum == second.dataset_checksum


def test_jets_without_truth_are_in_no_class(tmp_path):
    table = jets_table([None, "g"], np.ones(2), np.ones(2, dtype=np.int64), np.zeros((2, 8)))
    manifest = write(tmp_path / "jets", {"train": table})
    assert manifest.classes == ("g",)
    assert manifest.counts == {"train": {"g": 1}}
    assert manifest.n_jets("train") == 2


def test_missing_parents_are_made_and_an_empty_folder_is_used(tmp_path):
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    write(target)
    write(tmp_path / "c" / "d")
    assert (target / "manifest.json").is_file()
    assert (tmp_path / "c" / "d" / "manifest.json").is_file()


def test_nothing_is_ever_overwritten(tmp_path):
    write(tmp_path / "jets")
    before = read_manifest(tmp_path / "jets")
    for attempt in (write, check_target):
        with pytest.raises(DataError, match=r"not empty.*choose another folder, or remove it"):
            attempt(tmp_path / "jets")
    assert read_manifest(tmp_path / "jets") == before


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "jets").write_text("")
    with pytest.raises(DataError, match="this is a file"):
        check_target(tmp_path / "jets")


def test_a_parent_that_is_a_file_is_an_error_of_the_machine(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"jets: cannot be written.*choose a folder that can"):
        check_target(tmp_path / "file" / "jets")


def test_check_of_the_target_leaves_nothing_behind(tmp_path):
    check_target(tmp_path / "jets", n_bytes=10)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_beforehand(tmp_path):
    with pytest.raises(MachineError, match=r"about 1e.15 GB are needed.*fewer jets"):
        check_target(tmp_path / "jets", n_bytes=10**24)
    assert list(tmp_path.iterdir()) == []


def test_no_jets_are_refused(tmp_path):
    with pytest.raises(DataError, match="no jets"):
        write(tmp_path / "jets", {"train": jets(0)})


def test_a_write_that_hits_a_limit_leaves_nothing_behind(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(MachineError, match="free some space"):
            write(tmp_path / "jets", {"train": jets(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EACCES, "Permission denied; choose a folder that can"),
        (errno.EIO, "Input/output error; choose a folder that can"),
    ],
)
def test_failures_of_the_disk_say_what_to_do(tmp_path, monkeypatch, number, step):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MachineError, match=step):
        write(tmp_path / "jets")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "jets")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_fills_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    target = tmp_path / "jets"
    sync = os.fsync

    def somebody_is_faster(descriptor):
        target.mkdir(exist_ok=True)
        (target / "mine").write_text("precious")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", somebody_is_faster)
    with pytest.raises(DataError, match="not empty"):
        write(target)
    assert [path.name for path in tmp_path.iterdir()] == ["jets"]
    assert (target / "mine").read_text() == "precious"
