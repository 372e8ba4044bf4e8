"""Checkpoint files: written whole or not at all, with a checksum, and never unpickled.

A file is one line of JSON (format, version, epoch, checksum of what follows, configuration) and
then a NumPy archive of plain arrays. There is no state of random numbers to keep: every draw in
training is a function of the seed, the epoch and the rank.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ucluster_tune.errors import CheckpointError
from ucluster_tune.storage.arrays import read_archive, write_archive
from ucluster_tune.storage.whole_files import cannot_be_read
from ucluster_tune.training.record import EpochRecord

FORMAT = "ucluster-tune checkpoint"
FORMAT_VERSION = 1
_ARRAYS = ("parameters", "averages", "first_moment", "second_moment")
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on as if it never stopped.

    Attributes:
        epoch: epochs done.
        n_steps: steps done in all, for Adam's bias correction.
        n_jets: jets seen in all, for the schedules.
        seed: from which all random numbers derive.
        config: the trial's configuration, as plain values.
        dataset_checksum: of the data set trained on.
        best: the record of the best epoch so far, None before it is known.
        label_free: likewise of the best one by what needs no labels.
        record: of the checkpoint's own epoch, None before it is known.
        earlier: the records of some epochs before it, in order.
        parameters: float32; weights and centroids.
        averages: float32; batch-norm averages.
        first_moment, second_moment: float32; Adam's.
    """

    epoch: int
    n_steps: int
    n_jets: int
    seed: int
    config: dict[str, Any]
    dataset_checksum: str
    parameters: npt.NDArray[np.float32]
    averages: npt.NDArray[np.float32]
    first_moment: npt.NDArray[np.float32]
    second_moment: npt.NDArray[np.float32]
    best: EpochRecord | None = None
    label_free: EpochRecord | None = None
    record: EpochRecord | None = None
    earlier: tuple[EpochRecord, ...] = ()


def checkpoint_contents(checkpoint: Checkpoint) -> bytes:
    """Return the contents of a checkpoint's file."""
    payload = write_archive({name: getattr(checkpoint, name) for name in _ARRAYS})
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "epoch": checkpoint.epoch,
        "n_steps": checkpoint.n_steps,
        "n_jets": checkpoint.n_jets,
        "seed": checkpoint.seed,
        "config": checkpoint.config,
        "dataset_checksum": checkpoint.dataset_checksum,
        **{
            name: None if (record := getattr(checkpoint, name)) is None else record.as_values()
            for name in ("best", "label_free", "record")
        },
        "earlier": [record.as_values() for record in checkpoint.earlier],
    }
    return json.dumps(header).encode() + b"\n" + payload


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint at `path`.

    Raises:
        CheckpointError: it is missing, not ours, of a newer version, cut short or altered.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise CheckpointError(cannot_be_read(path, error)) from error
    return parse_checkpoint(contents, str(path))


def parse_checkpoint(contents: bytes, place: str) -> Checkpoint:
    """Return the checkpoint whose file has these contents.

    Args:
        contents: of the whole file.
        place: of the file, for errors.

    Raises:
        CheckpointError: it is not ours, of a newer version, cut short or altered.
    """
    header, payload = _split(contents, place)
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise CheckpointError(
            f"{place}: its checksum is not that of its contents: the file was cut short or"
            " altered; use the checkpoint of the epoch before"
        )
    try:
        arrays = read_archive(payload, _ARRAYS)
        return Checkpoint(
            epoch=int(header["epoch"]),
            n_steps=int(header["n_steps"]),
            n_jets=int(header["n_jets"]),
            seed=int(header["seed"]),
            config=header["config"],
            dataset_checksum=header["dataset_checksum"],
            best=_record(header["best"]),
            label_free=_record(header.get("label_free")),
            record=_record(header.get("record")),
            earlier=tuple(map(EpochRecord.from_values, header.get("earlier", ()))),
            **arrays,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place}: lacks what a checkpoint holds: {error}") from error


def _record(values: dict[str, Any] | None) -> EpochRecord | None:
    return None if values is None else EpochRecord.from_values(values)


def _split(contents: bytes, place: str) -> tuple[dict[str, Any], bytes]:
    line, _, payload = contents.partition(b"\n")
    try:
        header = json.loads(line[:_MAX_HEADER_BYTES])
        is_ours = header["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise CheckpointError(f"{place}: not a checkpoint of ucluster-tune")
    if header.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{place}: checkpoint version {header.get('version')}, this version of ucluster-tune"
            f" reads {FORMAT_VERSION}; use the version that wrote it"
        )
    return header, payload
