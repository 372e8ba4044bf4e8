"""Where a trial keeps its checkpoints and the data of its pictures, and which of them it keeps.

With its study on a path that every node sees, all of it lies there. With its study in a bucket,
workers read and write checkpoints, evaluations and logs there, and `root` is a folder of the
machine at hand: the driver's working copy, or a place for a worker's log.
"""

import hashlib
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ucluster_tune.errors import BucketError, CheckpointError
from ucluster_tune.storage.folders import BucketFolder, DiskFolder, Folder
from ucluster_tune.training.checkpoint import (
    Checkpoint,
    checkpoint_contents,
    parse_checkpoint,
    read_checkpoint,
)

if TYPE_CHECKING:
    from ucluster_tune.storage.locations import Location

_EPOCH = re.compile(r"epoch-(\d{4,})\.(ckpt|npz)")
_LOG = "workers.log"
SENT_LOG = re.compile(r"workers-(.+)-[0-9a-f]*\.log")  # in a bucket; the group is the host's name


class TrialFiles:
    """The files of one trial.

    Args:
        root: the trial's folder on this machine.
        remote: the trial's folder in a bucket, None where `root` is all there is.
        patience_s: how long a bucket that does not answer is asked again.
    """

    def __init__(
        self, root: Path, remote: "Location | None" = None, patience_s: float = 0.0
    ) -> None:
        self.root, self.remote = root, remote
        self._folder: Folder = (
            DiskFolder(root) if remote is None else BucketFolder(remote, patience_s)
        )

    @classmethod
    def at(cls, place: str, patience_s: float = 0.0) -> "TrialFiles":
        """Return the files of the trial whose `place` another process told."""
        if "://" not in place:
            return cls(Path(place))
        from ucluster_tune.storage.locations import locate  # loads Arrow

        key = hashlib.sha256(place.encode()).hexdigest()[:12]
        root = Path(tempfile.gettempdir()) / f"ucluster-tune-{os.getuid()}" / "trials" / key
        return cls(root, locate(place), patience_s)

    @property
    def place(self) -> str:
        """The path or URI by which every node finds the trial."""
        return str(self.root if self.remote is None else self.remote)

    @property
    def config(self) -> Path:
        """The trial's full configuration."""
        return self.root / "config.yaml"

    @property
    def workers_log(self) -> Path:
        """What the workers wrote; of a study in a bucket, those on this machine."""
        return self.root / _LOG

    @property
    def pictures(self) -> Path:
        """Folder of the pictures."""
        return self.root / "pictures"

    def checkpoint(self, epoch: int) -> Path:
        """Return the checkpoint of an epoch, counted from 1, where `root` is all there is."""
        assert self.remote is None, "in a bucket: see checkpoint_place"
        return self.root / _checkpoint_name(epoch)

    def checkpoint_place(self, epoch: int) -> str:
        """Return the path or URI of the checkpoint written after an epoch, counted from 1."""
        return self._folder.place_of(_checkpoint_name(epoch))

    def has_checkpoint(self, epoch: int) -> bool:
        """Return whether an epoch has a checkpoint, whole or not."""
        return epoch in self._epochs("checkpoints")

    def evaluation(self, epoch: int) -> Path:
        """Return the file of validation jets' clusters after an epoch, fetched from a bucket.

        Raises:
            CheckpointError: it cannot be fetched.
        """
        name = _evaluation_name(epoch)
        if self.remote is not None:
            (self.root / name).unlink(missing_ok=True)  # the epoch may have been run again
        return self._fetched(name)

    def fetched_config(self) -> Path:
        """Return the trial's full configuration, fetched where it lies in a bucket and not here.

        Raises:
            CheckpointError: it cannot be fetched.
        """
        return self._fetched(self.config.name)

    @property
    def evaluated_epochs(self) -> list[int]:
        """The epochs whose clusters of validation jets are kept, in order."""
        return sorted(self._epochs("evaluation"))

    @property
    def last_epoch(self) -> int:
        """The last epoch that has a checkpoint, whole or not; 0 for none."""
        return max(self._epochs("checkpoints"), default=0)

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the last checkpoint that is whole, and what is wrong with those after it.

        Raises:
            BucketError: the bucket cannot be used, which says nothing of what lies in it.
        """
        faults: list[str] = []
        for epoch in sorted(self._epochs("checkpoints"), reverse=True):
            try:
                return self.read_checkpoint(epoch), faults
            except BucketError:
                raise
            except CheckpointError as error:
                faults.append(str(error))
        return None, faults

    def read_checkpoint(self, epoch: int) -> Checkpoint:
        """Return the checkpoint of an epoch.

        Raises:
            CheckpointError: it is missing or not whole.
        """
        name = _checkpoint_name(epoch)
        return parse_checkpoint(self._folder.read(name), self._folder.place_of(name))

    def write_epoch(self, checkpoint: Checkpoint, evaluation: bytes | None) -> None:
        """Write what an epoch leaves; when this returns it is where every node finds it.

        Raises:
            CheckpointError: it cannot be written.
        """
        if evaluation is not None:
            self._folder.write(_evaluation_name(checkpoint.epoch), evaluation)
        # The checkpoint comes last: where there is one, all else of its epoch is there too.
        self._folder.write(_checkpoint_name(checkpoint.epoch), checkpoint_contents(checkpoint))

    def keep_only(self, epochs: set[int]) -> None:
        """Remove the files of all other epochs.

        In a bucket only of epochs before them: a search that another head has taken over may still
        run for seconds, and must not remove what the other one's workers wrote.
        """
        for folder, name in (("checkpoints", _checkpoint_name), ("evaluation", _evaluation_name)):
            for epoch in self._epochs(folder) - epochs:
                if self.remote is None or epoch < max(epochs, default=0):
                    self._folder.remove(name(epoch))

    def send_log(self) -> None:
        """Put the workers' log of this machine into the bucket, where there is one.

        Raises:
            CheckpointError: the bucket cannot be used now.
        """
        if self.remote is not None and self.workers_log.exists():
            BucketFolder(self.remote).write(_log_name(), self.workers_log.read_bytes())

    def _fetched(self, name: str) -> Path:
        path = self.root / name
        if self.remote is not None and not path.exists():
            DiskFolder(self.root).write(name, self._folder.read(name))
        return path

    def _epochs(self, folder: str) -> set[int]:
        matches = (_EPOCH.fullmatch(name) for name in self._folder.names(folder))
        return {int(match[1]) for match in matches if match}


def read_checkpoint_at(place: str, patience_s: float = 0.0) -> Checkpoint:
    """Return the checkpoint at a path or URI.

    Args:
        place: the path or URI.
        patience_s: how long a bucket that does not answer is asked again.

    Raises:
        CheckpointError: it is missing or not whole.
    """
    if "://" not in place:
        return read_checkpoint(Path(place))
    from ucluster_tune.storage.locations import locate  # loads Arrow

    path, mark, query = place.partition("?")
    folder, _, name = path.rpartition("/")
    bucket = BucketFolder(locate(f"{folder}{mark}{query}"), patience_s)
    return parse_checkpoint(bucket.read(name), place)


def _checkpoint_name(epoch: int) -> str:
    return f"checkpoints/epoch-{epoch:04d}.ckpt"


def _evaluation_name(epoch: int) -> str:
    return f"evaluation/epoch-{epoch:04d}.npz"


def _log_name() -> str:
    """Return the name of this machine's log since its start, unlike that of any other one."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    boot_id = boot.read_text(encoding="ascii").strip() if boot.exists() else ""
    return f"workers-{socket.gethostname()}-{boot_id[:8]}.log"
