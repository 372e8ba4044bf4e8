"""Model folders are written whole or not at all, and read only when they are whole."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from tests.training.small_training import MODEL
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import CheckpointError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.models.saved import (
    OptimizerState,
    SavedModel,
    read_model,
    write_model,
)
from ucluster_tune.storage.arrays import write_archive

NETWORK = build_abcnet(MODEL)


def make_model(**changes):
    generator = np.random.default_rng(0)
    size = NETWORK.parameters.size
    values = {
        "config": MODEL,
        "parameters": generator.normal(size=size).astype(np.float32),
        "averages": generator.uniform(size=NETWORK.averages.size).astype(np.float32),
        "origin": "a test",
        "selection": Selection(20.0, 180.5, ("w", "z")),
        "optimizer": OptimizerState(
            generator.normal(size=size).astype(np.float32),
            generator.uniform(size=size).astype(np.float32),
            118_200,
            0.8,
            0.99,
        ),
    }
    return SavedModel(**{**values, **changes})


@pytest.fixture
def folder(tmp_path):
    write_model(make_model(), tmp_path / "model")
    return tmp_path / "model"


def change_json(folder, change):
    document = json.loads((folder / "model.json").read_text())
    change(document)
    (folder / "model.json").write_text(json.dumps(document))


def replace_weights(folder, **changes):
    model = make_model()
    arrays = {"parameters": model.parameters, "averages": model.averages}
    arrays |= {name: getattr(model.optimizer, name) for name in ("first_moment", "second_moment")}
    contents = write_archive({**arrays, **changes})
    (folder / "weights.npz").write_bytes(contents)
    sha256 = hashlib.sha256(contents).hexdigest()
    change_json(folder, lambda document: document["weights"].update(sha256=sha256))


@pytest.mark.parametrize("has_optimizer", [True, False])
def test_everything_comes_back(tmp_path, has_optimizer):
    model = make_model() if has_optimizer else make_model(optimizer=None, selection=Selection())
    write_model(model, tmp_path / "deep" / "model")
    read = read_model(tmp_path / "deep" / "model")
    assert np.array_equal(read.parameters, model.parameters)
    assert np.array_equal(read.averages, model.averages)
    assert (read.config, read.origin, read.selection) == (MODEL, "a test", model.selection)
    if model.optimizer is None:
        assert read.optimizer is None
        return
    assert read.optimizer is not None
    for field in dataclasses.fields(OptimizerState):
        before, after = (getattr(o, field.name) for o in (model.optimizer, read.optimizer))
        assert np.array_equal(before, after), field.name


def test_two_files_are_left_and_numpy_reads_the_weights(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.npz"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["parameters"], make_model().parameters)


def test_nothing_is_overwritten(folder):
    before = (folder / "model.json").read_bytes()
    with pytest.raises(CheckpointError, match="is there already, and nothing is ever overwritten"):
        write_model(make_model(), folder)
    assert (folder / "model.json").read_bytes() == before


def test_a_place_that_cannot_be_written_is_named_and_left_clean(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot be written: .*; choose a folder that can"):
        write_model(make_model(), tmp_path / "file" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("n_kept", [0, 0.5, 0.999])
def test_weights_cut_short_are_refused(folder, n_kept):
    contents = (folder / "weights.npz").read_bytes()
    (folder / "weights.npz").write_bytes(contents[: int(n_kept * len(contents))])
    with pytest.raises(CheckpointError, match="the file was cut short or altered; copy the model"):
        read_model(folder)


def test_an_altered_byte_of_the_weights_is_refused(folder):
    contents = bytearray((folder / "weights.npz").read_bytes())
    contents[len(contents) // 2] ^= 1
    (folder / "weights.npz").write_bytes(contents)
    with pytest.raises(CheckpointError, match="checksum"):
        read_model(folder)


def test_weights_of_another_network_are_refused(folder):
    change_json(folder, lambda document: document["model"].update(n_clusters=4))
    with pytest.raises(CheckpointError, match="belong to different models"):
        read_model(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    replace_weights(folder, averages=np.full(NETWORK.averages.size, value, np.float32))
    with pytest.raises(CheckpointError, match=r"averages: .* numbers are NaN or infinite"):
        read_model(folder)


@pytest.mark.parametrize("name", ["parameters", "first_moment"])
def test_arrays_of_another_shape_are_refused(folder, name):
    replace_weights(folder, **{name: np.zeros((NETWORK.parameters.size, 1), np.float32)})
    with pytest.raises(CheckpointError, match=f"{name}: .* numbers, the network of this"):
        read_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(version=99),
            "model version 99, this version of ucluster-tune reads 1",
        ),
        (lambda d: d.update(format="other"), "not a model of ucluster-tune"),
        (lambda d: d.pop("model"), "lacks what a model holds"),
        (lambda d: d.update(model=[]), "model"),
        (lambda d: d["model"].update(n_clusters="three"), r"model\.n_clusters"),
        (lambda d: d["model"].update(first_widths=[1 << 40, 4]), r"model\.first_widths"),
        (lambda d: d.update(optimizer={"n_steps": -1, "beta_1": 0.9, "beta_2": 0.9}), "n_steps"),
        (lambda d: d.update(optimizer={"n_steps": 3, "beta_1": 7, "beta_2": 0.9}), "beta_1"),
        (lambda d: d.update(optimizer="Adam"), "lacks what a model holds"),
        (lambda d: d.update(selection={"classes": ["b"]}), "classes"),
        (lambda d: d.update(selection=7), "lacks what a model holds"),
        (lambda d: d.update(weights={}), "sha256"),
    ],
)
def test_a_wrong_model_json_gives_one_clear_error(folder, change, message):
    change_json(folder, change)
    with pytest.raises(CheckpointError, match=message):
        read_model(folder)


@pytest.mark.parametrize(
    "contents", [b"", b"[1]", b"{}", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * (2 << 20) + b"}"]
)
def test_a_foreign_model_json_is_refused(folder, contents):
    (folder / "model.json").write_bytes(contents)
    with pytest.raises(CheckpointError, match="not a model of ucluster-tune"):
        read_model(folder)


def test_missing_weights_are_named(folder):
    (folder / "weights.npz").unlink()
    with pytest.raises(CheckpointError, match=r"weights\.npz: cannot be read: No such file"):
        read_model(folder)
