"""Writes a data set whole or not at all.

Everything goes to a temporary folder beside the target, reaches the disk, and is renamed when it
is complete. A reader never sees half a data set.
"""

import errno
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from ucluster_tune.data.features import CLASS_NAMES, FEATURE_NAMES
from ucluster_tune.data.manifest import MANIFEST_NAME, Manifest, ManifestFile, sha256_of
from ucluster_tune.data.schema import JET_CLASS, SPLITS, jets_schema
from ucluster_tune.errors import DataError, MachineError

DEFAULT_ROW_GROUP_SIZE: Final = 256
DEFAULT_JETS_PER_FILE: Final = 100_000

_COMPRESSION_LEVEL: Final = 9
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_PERMISSION: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def check_target(directory: Path | str, n_bytes: int = 0) -> None:
    """Check that a data set can be written to a folder, before hours go into making its jets.

    Args:
        directory: the target, as for `write_dataset`.
        n_bytes: about how large the data set will be.

    Raises:
        DataError: there is something already.
        MachineError: the place cannot be written to, or has not enough space.
    """
    target = Path(directory).resolve()
    _refuse_existing(target)
    with _explained(target):
        staging = _make_staging(target)
        try:
            n_free = shutil.disk_usage(staging).free
        finally:
            staging.rmdir()
    if n_free < n_bytes:
        raise MachineError(
            f"{target}: about {n_bytes / 1e9:.2g} GB are needed, and {n_free / 1e9:.2g} GB are"
            " free; free some space, choose a folder on another disk, or ask for fewer jets"
        )


def write_dataset(
    directory: Path | str,
    tables: Mapping[str, pa.Table],
    *,
    name: str,
    source: str,
    command: str,
    settings: Mapping[str, JsonValue],
    row_group_size: int = DEFAULT_ROW_GROUP_SIZE,
    jets_per_file: int = DEFAULT_JETS_PER_FILE,
) -> Manifest:
    """Write a data set to a folder that does not exist or is empty, and return its manifest.

    Args:
        directory: the target; missing parents are made.
        tables: split to jets, each with `jets_schema()`; a split without jets gets no file.
        name: what the data set is called.
        source: the generator and its versions, or where the jets come from.
        command: the command that made the data set.
        settings: how the jets were made.
        row_group_size: jets in a row group, the piece that a worker reads.
        jets_per_file: jets in a file, at most.

    Raises:
        DataError: there is something in the folder already, or no jets to write.
        MachineError: disk full, no permission, or another failure of the machine.
    """
    _check_tables(tables)
    splits = [split for split in SPLITS if split in tables]
    counts = {split: _class_counts(tables[split]) for split in splits}
    classes = tuple(key for key in CLASS_NAMES if any(key in c for c in counts.values()))
    target = Path(directory).resolve()
    _refuse_existing(target)
    with _explained(target):
        staging = _make_staging(target)
        try:
            files: list[ManifestFile] = []
            for split in splits:
                files += _write_split(staging, split, tables[split], row_group_size, jets_per_file)
            manifest = Manifest(
                name=name,
                source=source,
                command=command,
                created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                features=FEATURE_NAMES,
                classes=classes,
                counts={
                    split: {key: by_class.get(key, 0) for key in classes}
                    for split, by_class in counts.items()
                },
                files=tuple(files),
                settings=dict(settings),
            )
            _write_text(staging / MANIFEST_NAME, manifest.to_json())
            _sync_folder(staging)
            _publish(staging, target)
        except BaseException:  # an interrupt leaves nothing behind either
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return manifest


def _write_split(
    folder: Path, split: str, table: pa.Table, row_group_size: int, jets_per_file: int
) -> Iterator[ManifestFile]:
    """Write the files of one split, and yield their entries in the manifest."""
    for index in range(math.ceil(table.num_rows / jets_per_file)):
        path = folder / f"{split}-{index:05d}.parquet"
        part = table.slice(index * jets_per_file, jets_per_file)
        with path.open("wb") as stream:
            pq.write_table(
                part,
                stream,
                row_group_size=row_group_size,
                compression="zstd",
                compression_level=_COMPRESSION_LEVEL,
                use_dictionary=[JET_CLASS],
                use_byte_stream_split=[f"{name}.list.element" for name in FEATURE_NAMES],
            )
            stream.flush()
            os.fsync(stream.fileno())
        yield ManifestFile(
            path=path.name,
            split=split,
            n_jets=part.num_rows,
            n_row_groups=math.ceil(part.num_rows / row_group_size),
            n_bytes=path.stat().st_size,
            sha256=sha256_of(path),
        )


def _check_tables(tables: Mapping[str, pa.Table]) -> None:
    """Refuse what is no data set: our own callers are at fault, but for the lack of jets."""
    unknown = sorted(set(tables) - set(SPLITS))
    if unknown:
        raise ValueError(f"splits must be among {', '.join(SPLITS)}, got {', '.join(unknown)}")
    for split, table in tables.items():
        if not table.schema.equals(jets_schema(), check_metadata=True):
            raise ValueError(f"{split}: the table must have jets_schema()")
    if not any(table.num_rows for table in tables.values()):
        raise DataError("no jets to write; ask for at least one")


def _class_counts(table: pa.Table) -> dict[str, int]:
    """Jets by class; those without truth are in no class."""
    counted = pc.value_counts(table[JET_CLASS].drop_null()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}


def _refuse_existing(target: Path) -> None:
    """Raise if a data set at this place would overwrite something."""
    with _explained(target):
        if target.is_file():
            raise DataError(f"{target}: this is a file; choose another folder")
        if target.is_dir() and any(target.iterdir()):
            raise DataError(
                f"{target}: this folder is not empty, and nothing is ever overwritten;"
                " choose another folder, or remove it first"
            )


def _make_staging(target: Path) -> Path:
    """A new, empty folder beside the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    staging.mkdir()
    return staging


def _publish(staging: Path, target: Path) -> None:
    """Give the complete folder its name; an empty folder of that name is replaced."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            _refuse_existing(target)  # somebody was faster
        raise
    _sync_folder(target.parent)


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Turn a failure of the file system into an error that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_SPACE:
            step = "free some space, or choose a folder on another disk; nothing was written"
        elif error.errno in _NO_PERMISSION:
            step = "choose a folder that you may write to"
        else:
            step = "choose another folder; nothing was written"
        raise MachineError(f"{target}: cannot write the data set: {reason}; {step}") from error
