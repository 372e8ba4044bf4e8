"""Published weights: TensorFlow 1 checkpoints of the UCluster code, read and written whole.

All variables of the published training are kept: weights, among them those that act on nothing,
batch-norm averages, Adam's moments and its two powers, and the counter of steps.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from ucluster_tune.data.recognition import PUBLISHED_ENDINGS
from ucluster_tune.errors import CheckpointError, ModelError
from ucluster_tune.model.abcnet import Abcnet, build_abcnet
from ucluster_tune.model.published import (
    config_from_published,
    published_arrays,
    published_name,
    refuse_unpublished,
    vector_from_published,
    vectors_from_published,
)
from ucluster_tune.models.saved import (
    MAX_STEPS,
    OptimizerState,
    SavedModel,
    check_vector,
    refuse_existing,
)
from ucluster_tune.storage.arrays import FloatArray
from ucluster_tune.storage.whole_files import beside, publish

STEP_COUNTER: Final = "Variable"
PUBLISHED_ORIGIN: Final = "TensorFlow checkpoint"
_ENDINGS: Final = ("/Adam", "/Adam_1")
_POWERS: Final = ("beta1_power", "beta2_power")


def checkpoint_prefix(path: Path) -> Path:
    """Return the name that TensorFlow knows a checkpoint by: of its files, or of its folder.

    Raises:
        CheckpointError: there is none, or a folder holds several.
    """
    for suffix in PUBLISHED_ENDINGS:
        if path.name.endswith(suffix):
            path = path.with_name(path.name.removesuffix(suffix))
    if _index(path).is_file():
        return path
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) == 1:
            return found[0].with_suffix("")
        if found:
            names = ", ".join(file.stem for file in found)
            raise CheckpointError(f"{path}: holds several checkpoints: {names}; name one of them")
    raise CheckpointError(
        f"{path}: no TensorFlow checkpoint, which is a pair of files NAME.index and NAME.data-...;"
        " give NAME, such as logs/cluster.ckpt"
    )


def read_published(path: Path, n_neighbors: int) -> SavedModel:
    """Return the model of a published checkpoint.

    Args:
        path: of the checkpoint, or of one of its files.
        n_neighbors: k of the neighbour searches, which leaves no trace in the weights.

    Raises:
        CheckpointError: it is missing, damaged or holds numbers that are not finite.
        ModelError: it holds another network.
    """
    prefix = checkpoint_prefix(path)
    reader = _explained(prefix, lambda: tf.train.load_checkpoint(str(prefix)))
    shapes = {name: tuple(s) for name, s in reader.get_variable_to_shape_map().items()}
    types = reader.get_variable_to_dtype_map()

    def read(name: str) -> FloatArray:
        if types[name] != tf.float32:
            raise ModelError(f"{prefix}: variable {name!r} holds {types[name].name}, not float32")
        return np.asarray(_explained(prefix, lambda: reader.get_tensor(name)))

    try:
        config = config_from_published(shapes, n_neighbors)
    except ModelError as error:
        raise ModelError(f"{prefix}: {error}") from error
    network = build_abcnet(config)
    parameters, averages = vectors_from_published(network, read)
    check_vector(parameters, network.parameters.size, f"{prefix}: weights")
    check_vector(averages, network.averages.size, f"{prefix}: batch-norm averages")
    return SavedModel(
        config=config,
        parameters=parameters,
        averages=averages,
        origin=f"{PUBLISHED_ORIGIN} {prefix.name}",
        optimizer=_read_optimizer(prefix, network, shapes, read, reader),
    )


def _read_optimizer(
    prefix: Path,
    network: Abcnet,
    shapes: dict[str, tuple[int, ...]],
    read: Callable[[str], FloatArray],
    reader: Any,
) -> OptimizerState | None:
    """Return Adam's state where the checkpoint holds all of it in the right shapes."""
    for name in network.parameters.names:
        published = published_name(name)
        if any(shapes.get(published + ending) != shapes[published] for ending in _ENDINGS):
            return None
    if shapes.get(STEP_COUNTER) != ():
        return None
    n_steps = _explained(prefix, lambda: int(reader.get_tensor(STEP_COUNTER)))
    if not 0 <= n_steps <= MAX_STEPS:
        raise CheckpointError(f"{prefix}: counts {n_steps} steps, which cannot be")
    first, second = (
        vector_from_published(network.parameters, read, ending) for ending in _ENDINGS
    )
    for moment in (first, second):
        check_vector(moment, network.parameters.size, f"{prefix}: Adam's moments")
    return OptimizerState(first, second, n_steps)


def write_published(model: SavedModel, path: Path) -> int:
    """Write a model as a TensorFlow 1 checkpoint; returns the number of its variables.

    `tf.compat.v1.train.Saver.restore` of the published graph reads it. Without Adam's state the
    weights and averages alone are written.

    Raises:
        CheckpointError: it is there already, or the place cannot be written.
        ModelError: the network is one that the published code cannot be.
    """
    refuse_unpublished(model.config)
    variables = _variables(model)
    target = path.absolute()
    refuse_existing(target)
    for suffix in PUBLISHED_ENDINGS[:2]:
        refuse_existing(target.with_name(target.name + suffix))
    temporary = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # TensorFlow's own error of a folder that cannot be written is for its developers.
        _index(temporary).touch(exist_ok=False)
        _save(temporary, variables)
        for suffix in reversed(PUBLISHED_ENDINGS[:2]):  # the index last: it makes the checkpoint
            file = temporary.with_name(temporary.name + suffix)
            publish(file, target.with_name(target.name + suffix))
    except (OSError, tf.errors.OpError) as error:
        reason = _reason(error)
        raise CheckpointError(
            f"{target}: cannot be written: {reason}; choose a folder that can be written"
        ) from error
    finally:
        for file in temporary.parent.glob(f"{temporary.name}*"):
            file.unlink(missing_ok=True)
    return len(variables)


def _variables(model: SavedModel) -> dict[str, Any]:
    """Return every variable of the published training by its name there."""
    network = build_abcnet(model.config)
    variables: dict[str, Any] = {
        **published_arrays(network.parameters, model.parameters),
        **published_arrays(network.averages, model.averages),
    }
    optimizer = model.optimizer
    if optimizer is not None:
        moments = (optimizer.first_moment, optimizer.second_moment)
        for ending, moment in zip(_ENDINGS, moments, strict=True):
            variables |= published_arrays(network.parameters, moment, ending)
        variables |= {
            name: _power(beta, optimizer.n_steps + 1)
            for name, beta in zip(_POWERS, (optimizer.beta_1, optimizer.beta_2), strict=True)
        }
        variables[STEP_COUNTER] = np.int32(min(optimizer.n_steps, np.iinfo(np.int32).max))
    return variables


def _power(beta: float, exponent: int) -> np.float32:
    """Return beta^exponent as TensorFlow 1 keeps it: multiplied step by step, never denormal.

    >>> float(_power(0.5, 3))
    0.125
    """
    factor = power = np.float32(beta)
    tiny = np.finfo(np.float32).tiny
    for _ in range(exponent - 1):
        power = np.float32(power * factor)
        if power < tiny:
            return np.float32(0.0)
    return power


def _save(prefix: Path, variables: dict[str, Any]) -> None:
    names = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )


def _reason(error: Exception) -> str:
    """Return what went wrong without the names of TensorFlow's operations around it.

    >>> _reason(OSError(28, "No space left on device"))
    'No space left on device'
    """
    text = getattr(error, "strerror", None) or getattr(error, "message", str(error))
    return re.sub(r"\{\{.*?\}\} ?| ?\[Op:\w*\]", "", str(text)).splitlines()[0].strip()


def _index(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.index")


def _explained(prefix: Path, function: Callable[[], Any]) -> Any:
    """Return what a call of TensorFlow returns; its errors are told in our words."""
    try:
        return function()
    except (tf.errors.OpError, LookupError, ValueError, RuntimeError, TypeError) as error:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        raise CheckpointError(
            f"{prefix}: not a readable TensorFlow checkpoint: {reason}; copy it again from where"
            " it came"
        ) from error
