"""Where a trial keeps its checkpoints and the data of its pictures, and which of them it keeps."""

import re
from pathlib import Path

from ucluster_tune.errors import CheckpointError
from ucluster_tune.training.checkpoint import Checkpoint, read_checkpoint

_EPOCH = re.compile(r"epoch-(\d{4,})\.(ckpt|npz)")


class TrialFiles:
    """The files of one trial.

    Args:
        root: the trial's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def config(self) -> Path:
        """The trial's full configuration."""
        return self.root / "config.yaml"

    @property
    def workers_log(self) -> Path:
        """What the workers wrote."""
        return self.root / "workers.log"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.root / "pictures"

    def checkpoint(self, epoch: int) -> Path:
        """The checkpoint written after an epoch, counted from 1."""
        return self.root / "checkpoints" / f"epoch-{epoch:04d}.ckpt"

    def evaluation(self, epoch: int) -> Path:
        """Clusters of validation jets after an epoch, counted from 1."""
        return self.root / "evaluation" / f"epoch-{epoch:04d}.npz"

    @property
    def last_epoch(self) -> int:
        """The last epoch that has a checkpoint, whole or not; 0 for none."""
        return max(self._epochs("checkpoints"), default=0)

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the last checkpoint that is whole, and what is wrong with those after it."""
        faults: list[str] = []
        for epoch in sorted(self._epochs("checkpoints"), reverse=True):
            try:
                return read_checkpoint(self.checkpoint(epoch)), faults
            except CheckpointError as error:
                faults.append(str(error))
        return None, faults

    def keep_only(self, epochs: set[int]) -> None:
        """Remove the files of all other epochs."""
        for epoch in self._epochs("checkpoints") - epochs:
            self.checkpoint(epoch).unlink(missing_ok=True)
        for epoch in self._epochs("evaluation") - epochs:
            self.evaluation(epoch).unlink(missing_ok=True)

    def _epochs(self, folder: str) -> set[int]:
        matches = (_EPOCH.fullmatch(path.name) for path in (self.root / folder).glob("epoch-*"))
        return {int(match[1]) for match in matches if match}
