"""One way to name a model, whatever it lies in: a model folder, a trial's folder, a checkpoint.

Loads TensorFlow.
"""

import shlex
from pathlib import Path
from typing import Final

from ucluster_tune.data.recognition import FILES, MODEL_JSON, Kind, published_checkpoint, what_is
from ucluster_tune.errors import CheckpointError
from ucluster_tune.models.saved import (
    SavedModel,
    is_model_folder,
    model_of_checkpoint,
    read_model,
)
from ucluster_tune.storage.locations import locate
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.trial.files import TrialFiles, read_checkpoint_at

_IMPORT: Final = "ucluster-tune weights import"
_NAME_ONE: Final = (
    f"name a folder with {MODEL_JSON} (`{_IMPORT} CKPT` makes one of published"
    " weights), a study, a trial such as studies/quickstart/trials/0001, or one of its checkpoints"
)
_NO_MODEL: Final = {
    Kind.MISSING: "no such folder",
    Kind.DATASET: "this is a data set, and no model is in it",
}


def open_model(path: Path | str) -> SavedModel:
    """Return the model at `path`.

    Args:
        path: or URI; of a model folder; of the folder of a trial or of `train`, of which the best
            epoch so far is taken; or of one of its checkpoint files.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if isinstance(path, str) and "://" in path:
        return _model_in_bucket(path)
    path = Path(path)
    prefix = published_checkpoint(path)
    if prefix is not None:
        raise CheckpointError(
            f"{path}: a TensorFlow checkpoint, as of the published code; make a model folder of it"
            f" with `{_IMPORT} {shlex.quote(str(prefix))} --to MODEL_DIR`, and name MODEL_DIR"
        )
    found = what_is(path)
    if found is Kind.CHECKPOINT:
        return model_of_checkpoint(read_checkpoint(path), str(path))
    folder = path.parent if path.name == MODEL_JSON else path
    if is_model_folder(folder):
        return read_model(folder)
    if found in FILES:
        if is_model_folder(path.parent):
            raise CheckpointError(
                f"{path}: a file of a model folder; name the folder, {path.parent}"
            )
        raise CheckpointError(f"{path}: not a checkpoint of ucluster-tune; {_NAME_ONE}")
    files = TrialFiles(folder)
    if files.last_epoch:
        return _best_model(files)
    what = _NO_MODEL.get(found, "no model is in it")
    raise CheckpointError(f"{path}: {what}; {_NAME_ONE}")


def _model_in_bucket(uri: str) -> SavedModel:
    location = locate(uri)
    kind = location.kind()
    if kind == "file" and location.name != MODEL_JSON:
        return model_of_checkpoint(read_checkpoint_at(uri), uri)
    files = TrialFiles.at(uri)
    if kind == "folder" and files.last_epoch:
        return _best_model(files)
    what = "no model is in it" if kind == "folder" else "no such folder"
    raise CheckpointError(
        f"{uri}: {what}; name a study, a trial of one such as"
        " s3://bucket/studies/quickstart/trials/0001, or one of its checkpoints; copy a model"
        f" folder with {MODEL_JSON} to this machine first"
    )


def _best_model(files: TrialFiles) -> SavedModel:
    place = best_checkpoint(files)
    return model_of_checkpoint(read_checkpoint_at(place), place)


def best_checkpoint(files: TrialFiles) -> str:
    """Return the path or URI of the checkpoint of a trial's best epoch.

    Where no epoch is best it is that of the last whole one.

    Raises:
        CheckpointError: none is whole.
    """
    newest, faults = files.newest_checkpoint()
    if newest is None:
        raise CheckpointError(faults[0])
    epoch = newest.epoch if newest.best is None else newest.best.epoch
    return files.checkpoint_place(epoch)
