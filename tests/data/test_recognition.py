"""Whatever is named by mistake is known for what it is."""

import numpy as np
import pytest

from tests.hls4ml_files import made_up_file
from tests.small_datasets import write_jets
from ucluster_tune.data.recognition import Kind, published_checkpoint, what_is
from ucluster_tune.training.checkpoint import FORMAT as CHECKPOINT_FORMAT
from ucluster_tune.training.checkpoint import Checkpoint, checkpoint_contents


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("jets.tar.gz", b"", Kind.ARCHIVE),
        ("train-00000.parquet", b"PAR1", Kind.PARQUET),
        ("weights.npz", b"PK", Kind.MODEL_FILE),
        ("model.json", b"{}", Kind.MODEL_FILE),
        ("x.ckpt", f'{{"format": "{CHECKPOINT_FORMAT}"'.encode(), Kind.CHECKPOINT),
        ("x.ckpt", b"cut short", Kind.MODEL_FILE),
        ("x.ckpt.index", b"", Kind.MODEL_FILE),
        ("jets.h5", b"no HDF5 at all", Kind.OTHER_FILE),
        ("text", b"hello", Kind.OTHER_FILE),
    ],
)
def test_files_are_known_by_their_start_or_their_name(tmp_path, name, start, kind):
    (tmp_path / name).write_bytes(start)
    assert what_is(tmp_path / name) is kind


def test_a_checkpoint_and_hdf5_are_known_whatever_they_are_called(tmp_path):
    numbers = np.zeros(1, np.float32)
    checkpoint = Checkpoint(
        epoch=1,
        n_steps=1,
        n_jets=1,
        seed=1,
        config={},
        dataset_checksum="",
        parameters=numbers,
        averages=numbers,
        first_moment=numbers,
        second_moment=numbers,
        best=None,
    )
    (tmp_path / "a").write_bytes(checkpoint_contents(checkpoint))
    made_up_file(2).write(tmp_path / "b")
    assert what_is(tmp_path / "a") is Kind.CHECKPOINT
    assert what_is(tmp_path / "b") is Kind.HDF5


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ([], Kind.EMPTY_FOLDER),
        (["readme"], Kind.OTHER_FOLDER),
        (["model.json", "weights.npz"], Kind.MODEL),
        (["record.jsonl", "study.yaml"], Kind.STUDY),
        (["checkpoints", "config.yaml"], Kind.TRIAL),
        (["a.H5"], Kind.HDF5_FOLDER),
        (["train-00000.parquet"], Kind.PARQUET_FOLDER),
    ],
)
def test_folders_are_known_by_what_is_in_them(tmp_path, members, kind):
    for name in members:
        (tmp_path / name).touch()
    assert what_is(tmp_path) is kind


def test_data_sets_records_and_nothing_are_told_apart(tmp_path):
    assert what_is(write_jets(tmp_path / "jets")) is Kind.DATASET
    assert what_is("10.5281/zenodo.3602254") is Kind.ZENODO_RECORD
    assert what_is(tmp_path / "none") is Kind.MISSING


def test_a_published_checkpoint_is_found_by_its_prefix_and_by_each_file(tmp_path):
    prefix = tmp_path / "cluster.ckpt"
    assert published_checkpoint(prefix) is None
    for ending in (".index", ".meta", ".data-00000-of-00001"):
        (tmp_path / f"cluster.ckpt{ending}").touch()
    for ending in ("", ".index", ".meta", ".data-00000-of-00001"):
        assert published_checkpoint(tmp_path / f"cluster.ckpt{ending}") == prefix
