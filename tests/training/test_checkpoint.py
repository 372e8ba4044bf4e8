"""Checkpoints are written whole or not at all, and read only when they are whole."""

import dataclasses
import io
import json
import os
import pickle
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.study_events import epoch
from ucluster_tune.errors import CheckpointError
from ucluster_tune.storage.folders import DiskFolder
from ucluster_tune.training.checkpoint import (
    Checkpoint,
    checkpoint_contents,
    read_checkpoint,
)


def write_checkpoint(checkpoint, path):
    DiskFolder(path.parent).write(path.name, checkpoint_contents(checkpoint))


ARRAYS = ("parameters", "averages", "first_moment", "second_moment")


def make_checkpoint(**changes):
    generator = np.random.default_rng(0)
    values = {
        "epoch": 3,
        "n_steps": 36,
        "n_jets": 18_432,
        "seed": 7,
        "config": {"training": {"seed": 7}},
        "dataset_checksum": "ab" * 32,
        "best": epoch("0001", 2, 0.5, silhouette=0.4, stability=0.7).record,
        "label_free": epoch("0001", 3, 0.4, silhouette=0.5, stability=0.9).record,
        **{name: generator.normal(size=50).astype(np.float32) for name in ARRAYS},
    }
    return Checkpoint(**{**values, **changes})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "epoch-0003.ckpt"
    write_checkpoint(make_checkpoint(), path)
    return path


def test_everything_comes_back(path):
    written, read = make_checkpoint(), read_checkpoint(path)
    for field in dataclasses.fields(Checkpoint):
        before, after = getattr(written, field.name), getattr(read, field.name)
        if field.name in ARRAYS:
            assert after.dtype == np.float32
            assert np.array_equal(before, after), field.name
        else:
            assert before == after, field.name


def test_nothing_but_the_file_is_left_in_the_folder(path):
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_of_that_name_is_replaced(path):
    write_checkpoint(make_checkpoint(epoch=4), path)
    assert read_checkpoint(path).epoch == 4


@pytest.mark.parametrize("n_kept", [0.6, 0.9, 0.999])
def test_file_cut_short_is_refused(path, n_kept):
    contents = path.read_bytes()
    path.write_bytes(contents[: int(n_kept * len(contents))])
    with pytest.raises(CheckpointError, match="cut short or altered; use the checkpoint of the"):
        read_checkpoint(path)


def test_altered_byte_anywhere_after_the_header_is_refused(path):
    contents = bytearray(path.read_bytes())
    first = contents.index(b"\n") + 1
    for position in (first, (first + len(contents)) // 2, len(contents) - 1):
        altered = bytearray(contents)
        altered[position] ^= 1
        path.write_bytes(altered)
        with pytest.raises(CheckpointError, match="checksum"):
            read_checkpoint(path)


@pytest.mark.parametrize("contents", [b"", b"\n", b"hello\n", b'{"format": "other"}\n', b"[1]\n"])
def test_foreign_file_is_refused(path, contents):
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match="not a checkpoint of ucluster-tune"):
        read_checkpoint(path)


def test_newer_version_is_refused(path):
    line, _, payload = path.read_bytes().partition(b"\n")
    header = {**json.loads(line), "version": 99}
    path.write_bytes(json.dumps(header).encode() + b"\n" + payload)
    with pytest.raises(CheckpointError, match="checkpoint version 99, this version of"):
        read_checkpoint(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: cannot be read: No such file"):
        read_checkpoint(tmp_path / "none.ckpt")


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(path, tmp_path):
    import hashlib

    witness = tmp_path / "unpickled"
    archive = io.BytesIO()
    objects = np.array([Touch(witness)], dtype=object)
    np.savez(archive, allow_pickle=True, **dict.fromkeys(ARRAYS, objects))
    assert b"unpickled" in archive.getvalue()
    line = path.read_bytes().partition(b"\n")[0]
    sha256 = hashlib.sha256(archive.getvalue()).hexdigest()
    header = json.dumps({**json.loads(line), "sha256": sha256}).encode()
    path.write_bytes(header + b"\n" + archive.getvalue())
    with pytest.raises(CheckpointError, match="lacks what a checkpoint holds"):
        read_checkpoint(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(objects))
    assert witness.exists(), "the trap must work, or the test shows nothing"


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot be written: .*; choose a folder that can"):
        write_checkpoint(make_checkpoint(), tmp_path / "file" / "epoch.ckpt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot be written: Permission denied"):
        write_checkpoint(make_checkpoint(), tmp_path / "epoch.ckpt")


@contextmanager
def full_disk():
    """A limit on the size of files, which stops a write half-way as a full disk does.

    No fixture: the limit is the whole process's, and pytest may write its progress to a file.
    """
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_stops_half_way_leaves_the_old_file(path):
    before = path.read_bytes()
    with full_disk(), pytest.raises(CheckpointError, match="cannot be written"):
        write_checkpoint(make_checkpoint(epoch=4), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_full_disk_is_told_with_the_way_out(tmp_path, monkeypatch):
    """The temporary file leads to a device that is always full."""
    monkeypatch.setattr("secrets.token_hex", lambda n: "full")
    (tmp_path / ".epoch.part-full.ckpt").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="No space left on device; free some space"):
        write_checkpoint(make_checkpoint(), tmp_path / "epoch.ckpt")
    assert list(tmp_path.iterdir()) == []
