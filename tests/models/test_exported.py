"""An export is whole, gives the trial's own numbers, and runs without this program."""

import ast
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.models.test_prediction import make_model
from tests.small_study import environment
from ucluster_tune.data.reading.jet_source import open_parquet
from ucluster_tune.errors import CheckpointError, MachineError, ModelError
from ucluster_tune.models.exported.check import TOLERANCE, compare, jets_to_check
from ucluster_tune.models.exported.writing import write_export
from ucluster_tune.models.opening import open_model
from ucluster_tune.models.prediction import Predictor

CLASSES = ["t", "", "w"]
ALONE = """
import runpy, sys
sys.modules["ucluster_tune"] = None  # an import of it fails
runpy.run_path(sys.argv[1])
"""


@pytest.fixture(scope="module")
def model():
    """With centroids among the jets, so that more than one cluster has some."""
    model = make_model()
    embedding = Predictor(model).predict([jets_to_check(None).of_momenta]).embedding
    parameters = model.parameters.copy()
    parameters[-9:] = embedding[[0, 100, 200]].reshape(-1)
    return replace(model, parameters=parameters)


def export(model, folder, kind, classes=CLASSES, **options):
    given = {"jets": jets_to_check(None), "files": {"config.yaml": "a: 1\n"}, **options}
    return write_export(
        kind, model, classes, folder, card=lambda check: f"{check.n_jets} jets\n", **given
    )


@pytest.fixture(scope="module")
def savedmodel(model, jets_parquet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "savedmodel"
    jets = jets_to_check(open_parquet(jets_parquet, "test"), "test jets")
    return folder, export(model, folder, "savedmodel", jets=jets)


def run_example(folder):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder / "example.py")],
        env=environment() | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name: ast.literal_eval(values) for name, _, values in lines}


def assert_right(found, model):
    assert sorted(found) == ["cluster", "distances", "embedding", "jet_class"]
    assert np.shape(found["embedding"]) == (2, model.config.embedding_dim)
    names = [name.decode() if isinstance(name, bytes) else name for name in found["jet_class"]]
    assert names == [CLASSES[cluster] for cluster in found["cluster"]]


def test_a_savedmodel_agrees_on_jets_of_a_data_set(savedmodel):
    folder, check = savedmodel
    assert check.n_jets == 48
    assert check.departure <= TOLERANCE
    assert check.jets == "test jets"
    told = json.loads((folder / "export.json").read_text())
    assert told["check"]["n_jets"] == 48
    assert told["class_of_cluster"] == CLASSES
    assert set(told["inputs"]) == {"serving_default", "with_jet", "from_features"}


def test_all_files_have_a_checksum(savedmodel):
    folder, _ = savedmodel
    told = json.loads((folder / "export.json").read_text())["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there - set(told) == {"export.json"}
    assert {"README.md", "config.yaml", "example.py", "saved_model.pb", "model.json"} <= set(told)
    for name, checksum in told.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_the_example_needs_tensorflow_alone(savedmodel, model):
    assert_right(run_example(savedmodel[0]), model)


def test_an_export_is_a_model_folder_too(savedmodel, model):
    opened = open_model(savedmodel[0])
    assert np.array_equal(opened.parameters, model.parameters)
    assert opened.optimizer is None


def test_onnx_agrees_and_needs_onnx_runtime_alone(model, tmp_path, capfd):
    pytest.importorskip("tf2onnx")
    check = export(model, tmp_path / "onnx", "onnx")
    assert capfd.readouterr().err == ""  # TensorFlow's C++ would tell of sessions and GPUs
    assert check.departure <= TOLERANCE
    assert_right(run_example(tmp_path / "onnx"), model)


def test_onnx_without_its_extra_is_refused_with_the_remedy(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MachineError, match="extra `onnx`, and tf2onnx is not installed"):
        export(model, tmp_path / "onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_without_labels_there_is_no_class(model, tmp_path):
    export(model, tmp_path / "folder", "folder", classes=None)
    assert (
        json.loads((tmp_path / "folder" / "export.json").read_text())["class_of_cluster"] is None
    )


def test_nothing_is_overwritten(model, tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(CheckpointError, match="nothing is ever overwritten"):
        export(model, tmp_path, "folder")


@pytest.fixture(scope="module")
def own(model):
    return Predictor(model).predict([jets_to_check(None).of_momenta])


def found_of(prediction, **changes):
    return {**{name: getattr(prediction, name) for name in prediction._fields}, **changes}


def test_other_numbers_are_refused(own):
    with pytest.raises(ModelError, match="does not give what the trial's own gives"):
        compare([(own, found_of(own, embedding=own.embedding * 1.001))], "a test")
    with pytest.raises(ModelError, match="not the nearest"):
        compare([(own, found_of(own, cluster=own.cluster + 1))], "a test")
    with pytest.raises(ModelError, match="depart"):
        compare([(own, found_of(own, embedding=own.embedding * np.nan))], "a test")


def test_a_neighbor_that_rounding_chose_otherwise_is_counted(own):
    embedding = own.embedding.copy()
    embedding[3] *= 1.01
    check = compare([(own, found_of(own, embedding=embedding))], "a test")
    assert (check.n_beyond, check.departure) == (1, 0.0)
    assert check.largest > TOLERANCE
