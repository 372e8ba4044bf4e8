"""A model as a folder to take home: `model.json` says what it is, `weights.npz` holds the numbers.

`model.json` has the network's configuration, the jets that it was trained on and the checksum of
`weights.npz`, whose arrays are flat vectors: `parameters`, `averages` and, for a model that can be
trained on, Adam's `first_moment` and `second_moment`. Nothing is ever unpickled.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from ucluster_tune.config.trial import ModelConfig, TrainingConfig, TrialConfig
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.data.recognition import MODEL_JSON
from ucluster_tune.errors import CheckpointError
from ucluster_tune.storage.arrays import FloatArray, read_archive, write_archive
from ucluster_tune.storage.whole_files import cannot_be_read, explained, whole
from ucluster_tune.training.checkpoint import Checkpoint

FORMAT: Final = "ucluster-tune model"
FORMAT_VERSION: Final = 1
WEIGHTS_NPZ: Final = "weights.npz"
MAX_STEPS: Final = 10**9
_MAX_JSON_BYTES: Final = 1 << 20
_VECTORS: Final = ("parameters", "averages")
_MOMENTS: Final = ("first_moment", "second_moment")


@dataclass(frozen=True)
class OptimizerState:
    """What Adam needs to go on.

    Attributes:
        first_moment, second_moment: float32 [parameters.size].
        n_steps: steps done.
        beta_1, beta_2: decays of the moments; the published ones where they are not known.
    """

    first_moment: FloatArray
    second_moment: FloatArray
    n_steps: int
    beta_1: float = TrainingConfig.model_fields["adam_beta_1"].default
    beta_2: float = TrainingConfig.model_fields["adam_beta_2"].default


@dataclass(frozen=True)
class SavedModel:
    """A network and its weights, wherever they were read from.

    Attributes:
        config: shape of the network.
        parameters: float32; weights and centroids.
        averages: float32; batch-norm averages.
        origin: where the weights come from, in words.
        selection: of the jets it was trained on.
        optimizer: None where it is not known.
    """

    config: ModelConfig
    parameters: FloatArray
    averages: FloatArray
    origin: str
    selection: Selection = field(default_factory=Selection)
    optimizer: OptimizerState | None = None


def is_model_folder(folder: Path) -> bool:
    """Return whether a folder looks like one of this format."""
    return (folder / MODEL_JSON).is_file()


def refuse_existing(target: Path) -> None:
    """Raise CheckpointError where something is in the way of a new folder or file."""
    if target.is_symlink() or (
        target.exists() and not (target.is_dir() and not any(target.iterdir()))
    ):
        raise CheckpointError(
            f"{target}: is there already, and nothing is ever overwritten; choose another name,"
            " or remove it first"
        )


def write_model(model: SavedModel, folder: Path) -> None:
    """Write a model to a folder that does not exist or is empty, whole or not at all.

    Raises:
        CheckpointError: there is something, the place cannot be written, or the disk is full.
    """
    target = folder.absolute()
    refuse_existing(target)
    arrays = {name: getattr(model, name) for name in _VECTORS}
    if model.optimizer is not None:
        arrays |= {name: getattr(model.optimizer, name) for name in _MOMENTS}
    weights = write_archive(arrays)
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "origin": model.origin,
        "model": model.config.model_dump(mode="json"),
        "selection": asdict(model.selection),
        "optimizer": _optimizer_document(model.optimizer),
        "weights": {
            "file": WEIGHTS_NPZ,
            "arrays": {name: len(array) for name, array in arrays.items()},
            "sha256": hashlib.sha256(weights).hexdigest(),
        },
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    with explained(target, CheckpointError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as staging:
            staging.mkdir()
            (staging / WEIGHTS_NPZ).write_bytes(weights)
            (staging / MODEL_JSON).write_text(text, encoding="utf-8")


def read_model(folder: Path) -> SavedModel:
    """Return the model in a folder.

    Raises:
        CheckpointError: it is missing, not ours, of a newer version, cut short or altered, or
            its weights are not those of its configuration.
    """
    from ucluster_tune.model.abcnet import build_abcnet  # loads TensorFlow

    path = folder / MODEL_JSON
    document = _parse(path)
    try:
        config = ModelConfig.model_validate(document["model"])
        selection = Selection(**document["selection"])
        origin, checksum = str(document["origin"]), document["weights"]["sha256"]
        settings = _optimizer_settings(document["optimizer"])
    except ValidationError as error:
        fault = error.errors()[0]
        section = "selection" if error.title == Selection.__name__ else "model"
        where = ".".join((section, *map(str, fault["loc"])))
        raise CheckpointError(f"{path}: {where}: {fault['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: lacks what a model holds: {error}") from error
    contents = _read(folder / WEIGHTS_NPZ)
    if hashlib.sha256(contents).hexdigest() != checksum:
        raise CheckpointError(
            f"{folder / WEIGHTS_NPZ}: its checksum is not the one in {MODEL_JSON}: the file was"
            " cut short or altered; copy the model again"
        )
    try:
        arrays = read_archive(contents, (*_VECTORS, *(_MOMENTS if settings else ())))
    except ValueError as error:
        raise CheckpointError(f"{folder / WEIGHTS_NPZ}: {error}") from error
    network = build_abcnet(config)
    sizes = dict.fromkeys(arrays, network.parameters.size)
    sizes["averages"] = network.averages.size
    for name, array in arrays.items():
        check_vector(array, sizes[name], f"{folder / WEIGHTS_NPZ}: {name}")
    optimizer = None
    if settings is not None:
        optimizer = OptimizerState(arrays["first_moment"], arrays["second_moment"], *settings)
    return SavedModel(
        config, arrays["parameters"], arrays["averages"], origin, selection, optimizer
    )


def model_of_checkpoint(checkpoint: Checkpoint, origin: str) -> SavedModel:
    """Return the model that a training's checkpoint holds.

    Raises:
        CheckpointError: its configuration is none, or its weights are not of that network.
    """
    from ucluster_tune.model.abcnet import build_abcnet  # loads TensorFlow

    try:
        trial = TrialConfig.model_validate(checkpoint.config)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise CheckpointError(f"{origin}: its configuration: {where}: {fault['msg']}") from error
    network = build_abcnet(trial.model)
    check_vector(checkpoint.parameters, network.parameters.size, f"{origin}: weights")
    check_vector(checkpoint.averages, network.averages.size, f"{origin}: batch-norm averages")
    for moment in (checkpoint.first_moment, checkpoint.second_moment):
        check_vector(moment, network.parameters.size, f"{origin}: Adam's moments")
    data = trial.data
    return SavedModel(
        config=trial.model,
        parameters=checkpoint.parameters,
        averages=checkpoint.averages,
        origin=origin,
        selection=Selection(data.mass_min_gev, data.mass_max_gev, data.classes),
        optimizer=OptimizerState(
            checkpoint.first_moment,
            checkpoint.second_moment,
            checkpoint.n_steps,
            trial.training.adam_beta_1,
            trial.training.adam_beta_2,
        ),
    )


def check_vector(vector: FloatArray, size: int, what: str) -> None:
    """Raise CheckpointError where a vector is not one of `size` finite numbers."""
    if vector.shape != (size,):
        raise CheckpointError(
            f"{what}: {list(vector.shape)} numbers, the network of this configuration has"
            f" {size}: weights and configuration belong to different models"
        )
    n_bad = int(np.count_nonzero(~np.isfinite(vector)))
    if n_bad:
        raise CheckpointError(
            f"{what}: {n_bad} numbers are NaN or infinite: no prediction can be made with them"
        )


def _optimizer_document(optimizer: OptimizerState | None) -> dict[str, Any] | None:
    if optimizer is None:
        return None
    return {name: getattr(optimizer, name) for name in ("n_steps", "beta_1", "beta_2")}


def _optimizer_settings(document: Any) -> tuple[int, float, float] | None:
    """Return steps and decays of `model.json`, checked; TypeError or ValidationError if not."""
    if document is None:
        return None
    n_steps = document["n_steps"]
    if type(n_steps) is not int or not 0 <= n_steps <= MAX_STEPS:
        raise TypeError(f"optimizer.n_steps must be a whole number, got {n_steps!r}")
    betas = {f"adam_{name}": document[name] for name in ("beta_1", "beta_2")}
    training = TrainingConfig.model_validate(betas)
    return n_steps, training.adam_beta_1, training.adam_beta_2


def _parse(path: Path) -> dict[str, Any]:
    contents = _read(path, _MAX_JSON_BYTES)
    try:
        document = json.loads(contents)
        is_ours = document["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        is_ours = False
    if not is_ours:
        raise CheckpointError(f"{path}: not a model of ucluster-tune")
    if document.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: model version {document.get('version')}, this version of ucluster-tune reads"
            f" {FORMAT_VERSION}; use the version that wrote it"
        )
    return dict(document)


def _read(path: Path, n_most: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(n_most)
    except OSError as error:
        raise CheckpointError(cannot_be_read(path, error)) from error
