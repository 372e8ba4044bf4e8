"""The formats of an export: how a network is written in each, and asked again."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from ucluster_tune.errors import MachineError
from ucluster_tune.models.exported.check import (
    CheckedJets,
    ExportCheck,
    Found,
    compare,
    padded_features,
)
from ucluster_tune.models.exported.graph import ExportedNetwork
from ucluster_tune.models.prediction import Prediction, Predictor
from ucluster_tune.models.saved import SavedModel, read_model
from ucluster_tune.storage.descriptors import silent

MODEL_ONNX: Final = "model.onnx"
_OPSET: Final = 18  # the newest that the converter writes
_ONE_INPUT: Final = {"constituents": "float32 [jet, constituent, 4]: px, py, pz, energy in GeV"}

INPUTS: Final[dict[str, Any]] = {
    "savedmodel": {
        "serving_default": _ONE_INPUT,
        "with_jet": {**_ONE_INPUT, "jet": "float32 [jet, 4]: the jet's own momentum"},
        "from_features": {"features": "float32 [jet, 100, 8]: as a data set of this program"},
    },
    "onnx": _ONE_INPUT,
    "folder": None,
}

Ask = Callable[[CheckedJets, Predictor], list[tuple[Prediction, Found]]]


def write_and_check(
    kind: str,
    model: SavedModel,
    class_of_cluster: Sequence[str] | None,
    jets: CheckedJets,
    folder: Path,
) -> ExportCheck:
    """Write a network into a folder that holds its weights, and ask what was written.

    Args:
        kind: a key of `INPUTS`.
        model: the network and its weights.
        class_of_cluster: see `ExportedNetwork`.
        jets: to ask about.
        folder: a model folder.

    Raises:
        MachineError: what the format needs is not installed.
        ModelError: what was written gives other numbers.
    """
    own = Predictor(model)
    network = ExportedNetwork(model, class_of_cluster)
    if kind == "savedmodel":
        pairs = _savedmodel(network, folder, jets, own)
    elif kind == "onnx":
        pairs = _onnx(network, folder / MODEL_ONNX, jets, own)
    else:
        again = Predictor(read_model(folder)).predict([jets.of_momenta])
        pairs = [(own.predict([jets.of_momenta]), _found(again))]
    return compare(pairs, jets.description)


def _found(prediction: Prediction) -> Found:
    return {name: getattr(prediction, name) for name in ("embedding", "distances", "cluster")}


def _savedmodel(
    network: ExportedNetwork, folder: Path, jets: CheckedJets, own: Predictor
) -> list[tuple[Prediction, Found]]:
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)  # "Assets written to"
    try:
        tf.saved_model.save(
            network,
            str(folder),
            signatures={
                "serving_default": network.of_constituents,
                "with_jet": network.with_jet,
                "from_features": network.of_features,
            },
        )
    finally:
        logger.setLevel(level)
    signatures = tf.saved_model.load(str(folder)).signatures
    of_momenta = own.predict([jets.of_momenta])
    axis = jets.momenta.astype(float).sum(axis=1).astype(np.float32)
    asked = [
        (of_momenta, signatures["serving_default"](constituents=tf.constant(jets.momenta))),
        (
            of_momenta,
            signatures["with_jet"](constituents=tf.constant(jets.momenta), jet=tf.constant(axis)),
        ),
    ]
    if jets.stored is not None:
        features = tf.constant(padded_features(jets.stored))
        of_stored = own.predict([jets.stored])
        asked.append((of_stored, signatures["from_features"](features=features)))
    return [(said, {k: v.numpy() for k, v in found.items()}) for said, found in asked]


def _onnx(
    network: ExportedNetwork, path: Path, jets: CheckedJets, own: Predictor
) -> list[tuple[Prediction, Found]]:
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise MachineError(
            f"--format onnx needs the extra `onnx`, and {error.name} is not installed: install it"
            " (docs/model.md says how), or take --format savedmodel"
        ) from error
    with silent(2):  # TensorFlow's graph optimizer tells of sessions and GPUs, whatever the level
        tf2onnx.convert.from_function(
            network.of_constituents,
            input_signature=network.of_constituents.input_signature,
            opset=_OPSET,
            output_path=str(path),
        )
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"constituents": jets.momenta}), strict=True))
    return [(own.predict([jets.of_momenta]), found)]
