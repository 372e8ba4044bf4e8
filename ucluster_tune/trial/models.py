"""One way to name a model, whatever it lies in: a model folder, a trial's folder, a checkpoint.

Loads TensorFlow.
"""

from pathlib import Path

from ucluster_tune.errors import CheckpointError
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.training.saved_model import (
    MODEL_JSON,
    SavedModel,
    is_model_folder,
    model_of_checkpoint,
    read_model,
)
from ucluster_tune.trial.files import TrialFiles


def open_model(path: Path) -> SavedModel:
    """Return the model at `path`.

    Args:
        path: a model folder; the folder of a trial or of `train`, of which the best epoch so far
            is taken; or one of its checkpoint files.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if path.is_file() and path.name != MODEL_JSON:
        return model_of_checkpoint(read_checkpoint(path), str(path))
    folder = path.parent if path.name == MODEL_JSON else path
    if is_model_folder(folder):
        return read_model(folder)
    files = TrialFiles(folder)
    if files.last_epoch:
        checkpoint = best_checkpoint(files)
        return model_of_checkpoint(read_checkpoint(checkpoint), str(checkpoint))
    what = "no model is in it" if path.is_dir() else "no such folder"
    raise CheckpointError(
        f"{path}: {what}; name a folder with {MODEL_JSON} (`ucluster-tune weights import` makes"
        " one), a study, a trial such as studies/quickstart/trials/0001, or one of its checkpoints"
    )


def best_checkpoint(files: TrialFiles) -> Path:
    """Return the checkpoint of a trial's best epoch; of its last whole one where none is best.

    Raises:
        CheckpointError: none is whole.
    """
    newest, faults = files.newest_checkpoint()
    if newest is None:
        raise CheckpointError(faults[0])
    epoch = newest.epoch if newest.best is None else newest.best["epoch"]
    return files.checkpoint(epoch)
