"""Brings the jets that `data.path` names into a parquet data set: fetched and converted once.

A path may be a data set, HLS4ML HDF5 files, or a record of Zenodo. What was made of the latter two
is kept in a cache, or where UCLUSTER_TUNE_DATASETS says, and found there the next time.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ucluster_tune.config.names import zenodo_number
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.manifest import MANIFEST_NAME
from ucluster_tune.data.hls4ml.conversion import Conversion, ConversionSettings, convert_dataset
from ucluster_tune.data.hls4ml.sources import (
    check_hdf5_files,
    find_source_files,
    is_source,
)
from ucluster_tune.data.making.dataset_copy import copy_dataset, dataset_bytes, refuse_unwritable
from ucluster_tune.data.making.zenodo import ZenodoRecord, download_files, read_record
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.data.simulation.splits import DEFAULT_FRACTIONS
from ucluster_tune.errors import MachineError
from ucluster_tune.storage.download import Say, ServerPatience, in_words, n_bytes_left
from ucluster_tune.storage.locations import Location, locate

CACHE_VARIABLE: Final = "UCLUSTER_TUNE_CACHE"
DATASETS_VARIABLE: Final = "UCLUSTER_TUNE_DATASETS"
SPLIT_SEED: Final = 1

_LOCK_LIMIT_S: Final = 12 * 3600.0


@dataclass(frozen=True)
class Preparation:
    """Where the jets of a configuration come from, and what is to be done first.

    Attributes:
        name: as in `data.path`.
        dataset: folder of the parquet data set, which may be missing yet; None where `name` is a
            URI, which is read as it is.
        kept: where the data set is sent from there, for all machines to read; None where it stays.
        is_ready: nothing is to be done.
        record: number of the Zenodo record to fetch, None for none.
        files: folder or file of the HDF5 jets; of a record, where they are fetched to.
        classes: to convert.
    """

    name: str
    dataset: Path | None
    is_ready: bool
    record: str | None = None
    files: Path | None = None
    classes: tuple[str, ...] = ()
    kept: Location | None = None

    @property
    def data_path(self) -> str:
        """What is to stand in `data.path` for the reader."""
        if self.kept is not None:
            return str(self.kept)
        return self.name if self.dataset is None else str(self.dataset)

    @property
    def made_in(self) -> str:
        """Path or URI of the folder that the data set is made in, where it is to be made."""
        assert self.dataset is not None, "a URI is read as it is"
        return str(self.dataset.parent if self.kept is None else self.kept)

    @property
    def is_only_to_be_sent(self) -> bool:
        """Whether it was converted already, before a place was named for it."""
        return self.kept is not None and self.dataset is not None and _is_dataset(self.dataset)

    def in_words(self) -> str:
        """Return what is to be done, in a sentence; asks nobody."""
        if self.is_only_to_be_sent:
            return f"{self.dataset} will be copied to {self.kept}"
        where = f"{self.dataset} and moved to {self.kept}" if self.kept else str(self.dataset)
        if self.record is not None:
            return (
                f"Zenodo record {self.record} will be fetched into {self.files} and converted to"
                f" {where}"
            )
        return f"HLS4ML files {self.files} will be converted to {where}"


@dataclass(frozen=True)
class Size:
    """How large what is to be done is.

    Attributes:
        record: as Zenodo has it, None where nothing is fetched.
        n_bytes: of all files; of the data set where that is only to be sent.
        n_bytes_to_fetch: of those that are not there yet.
    """

    record: ZenodoRecord | None
    n_bytes: int
    n_bytes_to_fetch: int
    is_dataset: bool = False

    def in_words(self) -> str:
        """Return the sizes, in words."""
        if self.is_dataset:
            return f"{in_words(self.n_bytes)} of parquet are to be copied"
        if self.record is None:
            return f"{in_words(self.n_bytes)} of HLS4ML files are to be read"
        n_files, title = len(self.record.files), self.record.title or "Zenodo record"
        files = f"{n_files} file{'s' * (n_files != 1)} of {in_words(self.n_bytes)}"
        return f"{title}, {files}; {in_words(self.n_bytes_to_fetch)} are to be fetched"


def cache_folder() -> Path:
    """Return the folder of what was fetched and converted.

    $UCLUSTER_TUNE_CACHE, else ucluster-tune in $XDG_CACHE_HOME, else in ~/.cache.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()).absolute() / "ucluster-tune"


def datasets_place() -> Location | None:
    """Return where data sets are kept for all machines: $UCLUSTER_TUNE_DATASETS, None without it.

    Raises:
        DataError: it is no path and no URI that can be written.
    """
    chosen = os.environ.get(DATASETS_VARIABLE)
    return locate(chosen) if chosen else None


def plan_preparation(config: DataConfig) -> Preparation:
    """Return what is to be done before the jets can be read.

    Looks at local files, and at a bucket where one keeps the data sets; asks nobody else.

    Raises:
        DataError: the HDF5 files are none, or that bucket cannot be reached.
    """
    number = zenodo_number(config.path)
    if number is not None:
        files = cache_folder() / f"zenodo-{number}" / "files"
        return _converted(config, f"zenodo-{number}", record=number, files=files)
    if "://" in config.path:
        return Preparation(config.path, None, is_ready=True)
    path = Path(config.path)
    if _is_dataset(path) or not is_source(path):
        return Preparation(config.path, path, is_ready=True)  # what is wrong is told by the reader
    return _converted(config, f"{path.name}-{_fingerprint(path)}", files=path)


def check_files(preparation: Preparation) -> None:
    """Look at HDF5 files that are to be converted, in milliseconds: not into archives.

    Raises:
        DataError: one is damaged, no HLS4ML file, or its jets have no classes.
    """
    here = preparation.files is not None and preparation.record is None
    if preparation.is_ready or preparation.is_only_to_be_sent or not here:
        return
    assert preparation.files is not None
    check_hdf5_files(find_source_files(preparation.files))


def size_of(
    preparation: Preparation, patience: ServerPatience | None = None, say: Say = lambda line: None
) -> Size:
    """Return how large it is; asks Zenodo for a record that is to be fetched.

    Raises:
        DataError: no such record or no such files.
        MachineError: Zenodo cannot be reached.
    """
    assert preparation.files is not None, "there is something to do"
    if preparation.is_only_to_be_sent:
        assert preparation.dataset is not None
        return Size(None, dataset_bytes(preparation.dataset), 0, is_dataset=True)
    if preparation.record is None:
        n_bytes = sum(file.n_bytes for file in find_source_files(preparation.files))
        return Size(None, n_bytes, 0)
    record = read_record(preparation.record, patience, say)
    return Size(record, record.n_bytes, n_bytes_left(record.files, preparation.files))


def prepare(
    preparation: Preparation,
    size: Size,
    *,
    command: str,
    on_task: Callable[[str, int], Callable[[int], None]],
    say: Say,
    patience: ServerPatience | None = None,
) -> Conversion | None:
    """Fetch, convert and send; return what came of it, None where nothing was converted.

    Another process may have been faster, or there was only something to send.

    Args:
        preparation: what is to be done.
        size: as `size_of` told.
        command: recorded in the manifest.
        on_task: called with a task's name and its bytes; returns what is called with new bytes.
        say: called with a line for the user.
        patience: with Zenodo.

    Raises:
        DataError: a file is damaged, or no HLS4ML file.
        MachineError: no space, no network.
    """
    assert preparation.dataset is not None, "there is something to do"
    folder = preparation.dataset.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        if lock_is_taken(lock):
            say(f"Another process prepares {preparation.name}; waiting for it")
        with lock.acquire(timeout=_LOCK_LIMIT_S, poll_interval=0.2):
            if preparation.kept is None:
                if _is_dataset(preparation.dataset):
                    return None
                return _fetch_and_convert(preparation, size, command, on_task, say, patience)
            return _send(preparation, size, command, on_task, say, patience)
    except Timeout as error:
        raise MachineError(
            f"{folder}: another process has prepared these jets for {_LOCK_LIMIT_S / 3600:g}"
            f" hours; end it, or choose another folder with {_variable(folder)}"
        ) from error
    except OSError as error:
        raise MachineError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder for"
            f" {'the cache' if _variable(folder) == CACHE_VARIABLE else 'data sets'} with"
            f" {_variable(folder)}"
        ) from error


def lock_is_taken(lock: FileLock) -> bool:
    """Tell whether another process has a lock."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _send(
    preparation: Preparation,
    size: Size,
    command: str,
    on_task: Callable[[str, int], Callable[[int], None]],
    say: Say,
    patience: ServerPatience | None,
) -> Conversion | None:
    """Convert where that was not done yet, and move the data set to where it is kept."""
    dataset, kept, conversion = preparation.dataset, preparation.kept, None
    assert dataset is not None
    assert kept is not None
    if (kept / MANIFEST_NAME).exists():
        return None
    refuse_unwritable(kept)  # now, and not after gigabytes were fetched for it
    if not _is_dataset(dataset):
        conversion = _fetch_and_convert(preparation, size, command, on_task, say, patience)
    n_bytes = dataset_bytes(dataset)
    copy_dataset(dataset, kept, on_task(f"copying to {kept}", n_bytes))
    if conversion is not None:  # what was there before may be in use
        shutil.rmtree(dataset, ignore_errors=True)
    return conversion


def _fetch_and_convert(
    preparation: Preparation,
    size: Size,
    command: str,
    on_task: Callable[[str, int], Callable[[int], None]],
    say: Say,
    patience: ServerPatience | None,
) -> Conversion:
    origin = None
    assert preparation.files is not None
    assert preparation.dataset is not None
    if size.record is not None:
        origin = f"doi:{size.record.doi}" if size.record.doi else f"zenodo:{size.record.number}"
        counters = {f.name: on_task(f.name, f.n_bytes) for f in size.record.files}
        download_files(
            size.record.files,
            preparation.files,
            on_bytes=lambda name, n_bytes: counters[name](n_bytes),
            say=say,
            patience=patience,
        )
    return convert_dataset(
        preparation.files,
        preparation.dataset,
        # Masses are selected when jets are read, by any search as it likes.
        ConversionSettings(
            Selection(-inf, inf, preparation.classes), DEFAULT_FRACTIONS, SPLIT_SEED
        ),
        command=command,
        origin=origin,
        on_bytes=on_task("converting jets", size.n_bytes),
    )


def _converted(
    config: DataConfig, key: str, *, files: Path, record: str | None = None
) -> Preparation:
    chosen = config.classes if config.classes is not None else CLASS_NAMES
    classes = tuple(name for name in CLASS_NAMES if name in chosen)
    name = f"{key}/jets-{''.join(classes)}"
    place = datasets_place()
    if place is not None and not place.is_local:
        kept = place / name
        is_ready = (kept / MANIFEST_NAME).exists()
        return Preparation(
            config.path, cache_folder() / name, is_ready, record, files, classes, kept
        )
    dataset = (cache_folder() if place is None else place.local_path) / name
    return Preparation(config.path, dataset, _is_dataset(dataset), record, files, classes)


def _is_dataset(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).exists()


def _variable(folder: Path) -> str:
    """Return the variable that a folder of data sets is chosen with."""
    return CACHE_VARIABLE if folder.is_relative_to(cache_folder()) else DATASETS_VARIABLE


def _fingerprint(source: Path) -> str:
    """Return a text that changes when HDF5 files are changed, added or taken away."""
    files = find_source_files(source)
    lines = [f"{file.path}\0{file.n_bytes}\0{file.path.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
