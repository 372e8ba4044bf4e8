"""A model is found in whatever holds one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_training import MODEL, small_config, write_checkpoint
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import CheckpointError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.models.opening import open_model
from ucluster_tune.models.saved import write_model
from ucluster_tune.training.checkpoint import Checkpoint
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.files import TrialFiles

NETWORK = build_abcnet(MODEL)


def make_checkpoint(epoch, best_epoch, **changes):
    size = NETWORK.parameters.size
    values = {
        "epoch": epoch,
        "n_steps": 12 * epoch,
        "n_jets": 100,
        "seed": 1,
        "config": small_config(Path("jets"), adam_beta_1=0.8).model_dump(mode="json"),
        "dataset_checksum": "",
        "parameters": np.full(size, epoch, np.float32),
        "averages": np.ones(NETWORK.averages.size, np.float32),
        "first_moment": np.zeros(size, np.float32),
        "second_moment": np.zeros(size, np.float32),
        "best": best_epoch and EpochRecord.from_values({"epoch": best_epoch}),
    }
    return Checkpoint(**{**values, **changes})


@pytest.fixture
def files(tmp_path):
    """A trial of three epochs, of which the second is the best."""
    files = TrialFiles(tmp_path / "0001")
    for epoch, best in ((1, 1), (2, 2), (3, 2)):
        write_checkpoint(make_checkpoint(epoch, best), files.checkpoint(epoch))
    return files


def test_a_trials_folder_gives_its_best_epoch(files):
    model = open_model(files.root)
    assert np.all(model.parameters == 2)
    assert model.config == MODEL
    assert model.selection == Selection(10.0, 200.0, None)
    assert model.origin == str(files.checkpoint(2))
    assert model.optimizer is not None
    assert (model.optimizer.n_steps, model.optimizer.beta_1) == (24, 0.8)


def test_a_checkpoint_file_gives_itself(files):
    assert np.all(open_model(files.checkpoint(3)).parameters == 3)


def test_a_damaged_last_epoch_does_not_hide_the_best(files):
    files.checkpoint(3).write_bytes(b"cut short")
    assert np.all(open_model(files.root).parameters == 2)


def test_without_a_best_epoch_the_last_is_taken(tmp_path):
    files = TrialFiles(tmp_path)
    write_checkpoint(make_checkpoint(1, None), files.checkpoint(1))
    assert np.all(open_model(tmp_path).parameters == 1)


def test_a_model_folder_or_its_json_gives_the_model(files, tmp_path):
    write_model(open_model(files.root), tmp_path / "model")
    for path in (tmp_path / "model", tmp_path / "model" / "model.json"):
        assert np.all(open_model(path).parameters == 2)


def test_what_holds_no_model_is_told_with_what_does(files, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, reason in (("empty", "no model is in it"), ("none", "no such folder")):
        with pytest.raises(CheckpointError, match=rf"{name}: {reason}; name a folder with model"):
            open_model(tmp_path / name)
    with pytest.raises(CheckpointError, match="not a checkpoint of ucluster-tune"):
        (tmp_path / "file").write_text("hello")
        open_model(tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "its configuration: data: Field required"),
        ({"parameters": np.zeros(3, np.float32)}, "weights and configuration belong to different"),
        ({"averages": np.full(NETWORK.averages.size, np.nan, np.float32)}, "are NaN or infinite"),
    ],
)
def test_a_checkpoint_that_is_no_model_is_refused(tmp_path, changes, message):
    checkpoint = dataclasses.replace(make_checkpoint(1, 1), **changes)
    write_checkpoint(checkpoint, tmp_path / "epoch.ckpt")
    with pytest.raises(CheckpointError, match=message):
        open_model(tmp_path / "epoch.ckpt")
