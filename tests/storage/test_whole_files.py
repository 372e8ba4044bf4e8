"""What is written appears whole, outlives a power cut, and says why where it cannot be."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.making.predictions import PredictionWriter, prediction_schema
from ucluster_tune.data.reading.jet_source import Origin
from ucluster_tune.errors import MachineError
from ucluster_tune.models.saved import SavedModel, write_model
from ucluster_tune.report.pictures import draw_confusion_matrix
from ucluster_tune.storage.folders import DiskFolder
from ucluster_tune.storage.locations import locate
from ucluster_tune.storage.whole_files import explained, whole, write_whole

PACKAGE = Path(__file__).parents[2] / "ucluster_tune"


def write_prediction(path):
    origins = [Origin("test", "a.parquet", 0, 4)]
    with PredictionWriter(path, prediction_schema(3, 2, {}), origins) as writer:
        embedding, distances = (np.zeros((4, n), "f4") for n in (2, 3))
        numbers = np.zeros(4, int)
        writer.write(numbers, embedding, distances, np.zeros(4, "f4"), numbers)


def write_a_model(path):
    config = ModelConfig.model_validate({})
    write_model(SavedModel(config, np.zeros(4, "f4"), np.zeros(2, "f4"), "test"), path)


def draw(path):
    draw_confusion_matrix(np.eye(2, dtype=int), ("g", "t"), "title", path)


WRITERS = {
    "location": lambda path: locate(path).write_bytes(b"new"),
    "checkpoint": lambda path: DiskFolder(path.parent).write(path.name, b"new"),
    "best.yaml": lambda path: write_whole(path, "new"),
    "prediction": write_prediction,
    "model": write_a_model,
    "picture.png": draw,
}


@pytest.mark.parametrize("name", WRITERS)
def test_contents_are_on_the_disk_before_their_name_and_the_name_before_it_is_told(
    name, tmp_path, monkeypatch
):
    """Every inode flushed before the rename has the contents; the folder is flushed after it."""
    target, flushed, real = tmp_path / name, [], os.fsync

    def fsync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append(("folder", target.exists()) if path == tmp_path else path.stat().st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    WRITERS[name](target)
    files = target.iterdir() if target.is_dir() else (target,)
    for file in files:
        assert file.stat().st_ino in flushed, f"{file} was not flushed"
    assert flushed[-1] == ("folder", True), "the name itself was not flushed"
    assert list(tmp_path.iterdir()) == [target]


def test_other_modules_leave_flushing_to_this_one():
    """But for a record, which grows line by line."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"os\.fsync|\.replace\(\w*(path|target)\)", path.read_text())
    }
    assert found == {"storage/whole_files.py", "study/journal.py", "study/bucket/copy.py"}


def test_an_interrupt_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "best.yaml", "old")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "best.yaml") as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious").touch()
    with pytest.raises(OSError, match="not empty"), whole(tmp_path / "model") as temporary:
        temporary.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "precious"]


def test_a_file_system_that_cannot_flush_folders_is_lived_with(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "best.yaml", "new")
    assert (tmp_path / "best.yaml").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make it writable again"),
        (errno.EACCES, "choose a folder that can be written"),
    ],
)
def test_what_is_in_the_way_is_told_with_the_next_step(number, step):
    told = f"^jets: cannot be written: {os.strerror(number)}; {step}"
    with pytest.raises(MachineError, match=told), explained("jets", MachineError):
        raise OSError(number, os.strerror(number))
