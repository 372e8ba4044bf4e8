"""One Horovod worker of a trial: what runs inside a worker process.

The module loads without TensorFlow, so that the trainable can name the class; TensorFlow comes in
when the worker is made, in its own process.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucluster_tune.config.study import ObjectiveConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import MachineError
from ucluster_tune.training.record import Rank, epoch_rank
from ucluster_tune.trial.files import TrialFiles

if TYPE_CHECKING:
    from ucluster_tune.training.trainer import Trainer

_LOGGER = logging.getLogger(__name__)


class TrainingWorker:
    """Holds the trainer of one rank.

    Args:
        config: the trial's, as plain values.
        folder: of the trial; the same for all ranks.
        n_threads: that TensorFlow may use.
        objective: what makes an epoch the best (of `ObjectiveConfig`).
        use_gpu: whether Ray gave this worker a GPU.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: str,
        n_threads: int,
        objective: dict[str, Any],
        use_gpu: bool,
    ) -> None:
        self._files = TrialFiles(Path(folder))
        self._files.root.mkdir(parents=True, exist_ok=True)
        log_to_file(self._files.workers_log)
        refuse_unresolved_host()
        self._objective = ObjectiveConfig(**objective)
        self._best: tuple[Rank, int] | None = None
        self._trainer = self._start(TrialConfig(**config), n_threads, use_gpu)

    def run_epoch(self) -> dict[str, Any]:
        """Return the record of the next epoch; rank 0 writes the checkpoint before it returns."""
        record = self._trainer.run_epoch().as_dict()
        if self._rank == 0:  # all ranks hold the same weights, one of them writes
            self._write(record)
        _LOGGER.info("epoch %d: %s", record["epoch"], _brief(record))
        return record

    def epochs_done(self) -> int:
        """Return how many epochs the checkpoint held that the worker started from."""
        return self._trainer.epoch

    def _start(self, config: TrialConfig, n_threads: int, use_gpu: bool) -> "Trainer":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from ucluster_tune.data.dataset import open_dataset  # noqa: PLC0415
        from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow
        from ucluster_tune.training.group import HorovodGroup  # noqa: PLC0415
        from ucluster_tune.training.trainer import Trainer  # noqa: PLC0415

        group = HorovodGroup()
        self._rank = group.rank
        use_devices(n_threads, group.local_rank if use_gpu else None)
        trainer = Trainer(config, open_dataset(config.data), group)
        checkpoint, faults = self._files.newest_checkpoint()
        for fault in faults:
            _LOGGER.warning("%s", fault)
        if checkpoint is not None:
            trainer.restore(checkpoint)
            _LOGGER.info("went on from the checkpoint of epoch %d", checkpoint.epoch)
        _LOGGER.info("rank %d of %d on %s", group.rank, group.world_size, socket.gethostname())
        return trainer

    def _write(self, record: dict[str, Any]) -> None:
        from ucluster_tune.training.checkpoint import write_checkpoint  # noqa: PLC0415

        epoch = record["epoch"]
        write_checkpoint(self._trainer.checkpoint(), self._files.checkpoint(epoch))
        if self._trainer.last_evaluation is not None:
            self._trainer.last_evaluation.write(self._files.evaluation(epoch))
        rank = epoch_rank(record, self._objective)
        if rank is not None and (self._best is None or rank > self._best[0]):
            self._best = rank, epoch
        best_epoch = self._best[1] if self._best else epoch
        self._files.keep_only({epoch - 1, epoch, best_epoch})


def refuse_unresolved_host() -> None:
    """Raise MachineError where the host cannot resolve its own name: Gloo would crash there."""
    host = socket.gethostname()
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise MachineError(
            f"host {host!r} cannot resolve its own name ({error}): Horovod needs that;"
            f" add the line `127.0.1.1 {host}` to /etc/hosts"
        ) from error


def log_to_file(path: Path) -> None:
    """Send this process's output, that of C++ included, and its log to the end of a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(message)s",
        stream=sys.stderr,
        force=True,
    )


def _brief(record: dict[str, Any]) -> str:
    return (
        f"{record['phase']}, focal loss {record['focal_loss']:.4g},"
        f" clustering loss {record['clustering_loss']:.4g},"
        f" accuracy {record['clustering_accuracy']:.4f},"
        f" {record['jets_per_second']:.0f} jets/s"
    )
