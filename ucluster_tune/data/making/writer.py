"""Writes a data set whole or not at all.

Everything goes to a temporary folder beside the target, reaches the disk, and is renamed when it
is complete. A reader never sees half a data set. Jets may come piece by piece: what is held in
memory is one row group of each split.
"""

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES
from ucluster_tune.data.format.manifest import MANIFEST_NAME, Manifest, ManifestFile, sha256_of
from ucluster_tune.data.format.schema import JET_CLASS, SPLITS, UNLABELLED, jets_schema
from ucluster_tune.errors import DataError, MachineError
from ucluster_tune.storage.whole_files import (
    beside,
    discard,
    explained,
    publish,
    refuse_unwritable,
)

DEFAULT_ROW_GROUP_SIZE: Final = 256
DEFAULT_JETS_PER_FILE: Final = 100_000

_COMPRESSION_LEVEL: Final = 9


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
        target.parent.mkdir(parents=True, exist_ok=True)
        refuse_unwritable(target, MachineError)
        n_free = shutil.disk_usage(target.parent).free
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
    unknown = sorted(set(tables) - set(SPLITS))
    if unknown:
        raise ValueError(f"splits must be among {', '.join(SPLITS)}, got {', '.join(unknown)}")
    with DatasetWriter(
        directory, row_group_size=row_group_size, jets_per_file=jets_per_file
    ) as writer:
        for split in SPLITS:
            if split in tables:
                writer.write(split, tables[split])
        return writer.finish(name=name, source=source, command=command, settings=settings)


class DatasetWriter:
    """A data set that grows piece by piece; leaving the block before `finish` removes it.

    Args:
        directory: the target, a folder that does not exist or is empty; missing parents are made.
        row_group_size: jets in a row group, the piece that a worker reads.
        jets_per_file: jets in a file, at most.

    Raises:
        DataError: there is something in the folder already.
        MachineError: disk full, no permission, or another failure of the machine; so do all
            methods.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        row_group_size: int = DEFAULT_ROW_GROUP_SIZE,
        jets_per_file: int = DEFAULT_JETS_PER_FILE,
    ) -> None:
        self._target = Path(directory).resolve()
        self._row_group_size = row_group_size
        self._jets_per_file = jets_per_file
        self._splits: dict[str, _SplitFiles] = {}
        self._is_published = False

    def __enter__(self) -> "DatasetWriter":
        _refuse_existing(self._target)
        with _explained(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._staging = beside(self._target)
            self._staging.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_published:  # an interrupt leaves nothing behind either
            for files in self._splits.values():
                files.abandon()
            discard(self._staging)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder beside the files for what is needed until the data set is whole.

        Failures of the disk inside the block are explained as those of the data set.
        """
        folder = self._staging / "scratch"
        with _explained(self._target):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def write(self, split: str, table: pa.Table) -> None:
        """Append jets with `jets_schema()` to a split; a split without jets gets no file."""
        if not table.schema.equals(jets_schema(), check_metadata=True):
            raise ValueError(f"{split}: the table must have jets_schema()")
        if split not in self._splits:
            self._splits[split] = _SplitFiles(
                self._staging, split, self._row_group_size, self._jets_per_file
            )
        with _explained(self._target):
            self._splits[split].append(table)

    def counts(self, split: str) -> dict[str, int]:
        """Return the number of jets by class so far, those without truth as UNLABELLED."""
        return dict(self._splits[split].counts) if split in self._splits else {}

    def finish(
        self, *, name: str, source: str, command: str, settings: Mapping[str, JsonValue]
    ) -> Manifest:
        """Write what is left and the manifest, and give the folder its name.

        Args:
            name: what the data set is called.
            source: the generator and its versions, or where the jets come from.
            command: the command that made the data set.
            settings: how the jets were made.

        Raises:
            DataError: no jets were written, or somebody else filled the folder meanwhile.
        """
        splits = [split for split in SPLITS if split in self._splits]
        with _explained(self._target):
            files = [file for split in splits for file in self._splits[split].close()]
        if not any(file.n_jets for file in files):
            raise DataError("no jets to write; ask for at least one")
        counts = {split: self._splits[split].counts for split in splits}
        classes = tuple(key for key in CLASS_NAMES if any(key in c for c in counts.values()))
        manifest = Manifest(
            name=name,
            source=source,
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            features=FEATURE_NAMES,
            classes=classes,
            counts={
                split: {key: by_class.get(key, 0) for key in classes}
                for split, by_class in counts.items()
            },
            files=tuple(files),
            settings=dict(settings),
        )
        with _explained(self._target):
            (self._staging / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
            _publish(self._staging, self._target)
        self._is_published = True
        return manifest


class _SplitFiles:
    """The files of one split, written row group by row group."""

    def __init__(self, folder: Path, split: str, row_group_size: int, jets_per_file: int) -> None:
        self.counts: dict[str, int] = {}
        self._folder, self._split = folder, split
        self._row_group_size, self._jets_per_file = row_group_size, jets_per_file
        self._pending: list[pa.Table] = []
        self._n_pending = 0
        self._files: list[ManifestFile] = []
        self._stream: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._n_jets, self._n_row_groups = 0, 0  # of the open file

    def append(self, table: pa.Table) -> None:
        """Take jets; all full row groups go to disk."""
        for entry in pc.value_counts(table[JET_CLASS].fill_null(UNLABELLED)).to_pylist():
            self.counts[entry["values"]] = self.counts.get(entry["values"], 0) + entry["counts"]
        self._pending.append(table)
        self._n_pending += table.num_rows
        if self._n_pending >= self._row_group_size:
            self._write_row_groups(at_least=self._row_group_size)

    def close(self) -> list[ManifestFile]:
        """Write what is left; return all files' entries in the manifest."""
        self._write_row_groups(at_least=1)
        self._close_file()
        return self._files

    def abandon(self) -> None:
        """Let go of the open file; on a full disk closing it fails too."""
        if self._writer is not None and self._stream is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            with suppress(OSError):
                self._stream.close()

    def _write_row_groups(self, at_least: int) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending).combine_chunks()
        start = 0
        while table.num_rows - start >= at_least:
            size = min(self._row_group_size, self._jets_per_file - self._n_jets)
            part = table.slice(start, size)
            self._open_file().write_table(part, row_group_size=size)
            self._n_jets += part.num_rows
            self._n_row_groups += 1
            start += part.num_rows
            if self._n_jets == self._jets_per_file:
                self._close_file()
        rest = table.slice(start)
        self._pending, self._n_pending = [rest] if rest.num_rows else [], rest.num_rows

    def _open_file(self) -> pq.ParquetWriter:
        if self._writer is None:
            path = self._folder / f"{self._split}-{len(self._files):05d}.parquet"
            self._stream = path.open("wb")
            self._writer = pq.ParquetWriter(
                self._stream,
                jets_schema(),
                compression="zstd",
                compression_level=_COMPRESSION_LEVEL,
                use_dictionary=[JET_CLASS],
                use_byte_stream_split=[f"{name}.list.element" for name in FEATURE_NAMES],
            )
        return self._writer

    def _close_file(self) -> None:
        if self._writer is None or self._stream is None:
            return
        self._writer.close()
        self._stream.close()
        path = Path(self._stream.name)
        self._files.append(
            ManifestFile(
                path=path.name,
                split=self._split,
                n_jets=self._n_jets,
                n_row_groups=self._n_row_groups,
                n_bytes=path.stat().st_size,
                sha256=sha256_of(path),
            )
        )
        self._writer, self._stream = None, None
        self._n_jets, self._n_row_groups = 0, 0


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


def _publish(staging: Path, target: Path) -> None:
    """Give the complete folder its name; an empty folder of that name is replaced."""
    try:
        publish(staging, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            _refuse_existing(target)  # somebody was faster
        raise


def _explained(target: Path) -> AbstractContextManager[None]:
    return explained(target, MachineError, "; nothing was written")
