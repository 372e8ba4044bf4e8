"""Where everything of a study lies; the only place that knows these names.

A study in a bucket has a working copy on this machine, in which the driver works as it does
without a bucket; `study.bucket.copy` keeps the two equal.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucluster_tune.config.names import TRACKING_ARTIFACTS, TRACKING_FILE, study_name_fault
from ucluster_tune.errors import DataError, StudyError
from ucluster_tune.study.trainings import FIRST
from ucluster_tune.trial.files import TrialFiles

if TYPE_CHECKING:
    from ucluster_tune.storage.locations import Location

STUDIES_VARIABLE = "UCLUSTER_TUNE_STUDIES"
DEFAULT_STUDIES = "studies"
_MAX_REQUESTS = 16  # to a bucket, at a time


def studies_folder(option: str | None = None) -> Path:
    """Return the studies folder on a disk: the option, UCLUSTER_TUNE_STUDIES, or ./studies."""
    return Path(_chosen(option)).expanduser().absolute()


def open_studies(option: str | None = None) -> "StudiesFolder":
    """Return the studies of a path or URI: the option, else as `studies_folder`.

    Asks no server.

    Raises:
        StudyError: it cannot be a place for studies.
    """
    chosen = _chosen(option)
    if "://" not in chosen:
        return StudiesFolder(studies_folder(chosen))
    from ucluster_tune.data.making.preparation import cache_folder  # the same
    from ucluster_tune.storage.locations import locate  # loads Arrow

    with bucket_errors():
        location = locate(chosen)
        if location.is_local:
            return StudiesFolder(location.local_path)
    text = location.text.partition("?")[0].partition("://")[2]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[-40:]
    key = hashlib.sha256(location.text.encode()).hexdigest()[:10]
    return StudiesFolder(cache_folder() / "studies" / f"{readable}-{key}", location)


def _chosen(option: str | None) -> str:
    return option or os.environ.get(STUDIES_VARIABLE) or DEFAULT_STUDIES


@contextmanager
def bucket_errors() -> Iterator[None]:
    """Turn errors of a storage into ones about studies."""
    try:
        yield
    except DataError as error:
        raise StudyError(str(error)) from error


def check_study_name(name: str) -> str:
    """Return the name when it is safe as a folder's name; StudyError otherwise."""
    fault = study_name_fault(name)
    if fault is not None:
        raise StudyError(f"the name of a study {fault}")
    return name


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; nothing where there is none."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study.

    Attributes:
        root: its folder on this machine.
        remote: its folder in a bucket, None where `root` is all there is.
    """

    root: Path
    remote: "Location | None" = None

    @property
    def place(self) -> str:
        """The path or URI of the study, to be shown."""
        return str(self.root if self.remote is None else self.remote)

    @property
    def studies_place(self) -> str:
        """The path or URI of all studies."""
        if self.remote is None:
            return str(self.root.parent)
        head, mark, query = self.remote.text.partition("?")
        return f"{head.rpartition('/')[0]}{mark}{query}"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.root.name

    @property
    def study_yaml(self) -> Path:
        """The study's full configuration, as run."""
        return self.root / "study.yaml"

    @property
    def record(self) -> Path:
        """The durable record: all else about the study can be rebuilt from it."""
        return self.root / "record.jsonl"

    @property
    def lock(self) -> Path:
        """Locked by the process that drives the study."""
        return self.root / "study.lock"

    @property
    def driver(self) -> Path:
        """Who drives the study."""
        return self.root / "driver.json"

    @property
    def stop_request(self) -> Path:
        """Asks the driver to stop."""
        return self.root / "stop.json"

    @property
    def sync_lock(self) -> Path:
        """Locked by the process that sends the study to another MLflow store."""
        return self.root / "sync.lock"

    @property
    def optuna_db(self) -> Path:
        """Optuna's SQLite file, for dashboards."""
        return self.root / "optuna.db"

    @property
    def log(self) -> Path:
        """The driver's log."""
        return self.root / "log.txt"

    @property
    def ray(self) -> Path:
        """Folder of Tune's own files."""
        return self.root / "ray"

    @property
    def best_yaml(self) -> Path:
        """The best trial's full configuration."""
        return self.root / "best.yaml"

    @property
    def report(self) -> Path:
        """Folder of the page that answers what the search was for."""
        return self.root / "report"

    @property
    def report_page(self) -> Path:
        """That page."""
        return self.report / "report.html"

    @property
    def trials(self) -> Path:
        """Folder of the trials."""
        return self.root / "trials"

    def trial(self, trial_id: str, training: str = FIRST) -> TrialFiles:
        """Return the files of a trial: of its first training, or of another one in its folder."""
        folder = trial_id if training == FIRST else f"{trial_id}/{training}"
        remote = None if self.remote is None else self.remote / f"{self.trials.name}/{folder}"
        return TrialFiles(self.trials / folder, remote)

    def trial_ids(self) -> list[str]:
        """Return the ids of the trials that have a folder, sorted.

        Raises:
            StudyError: the bucket cannot be read.
        """
        found = {folder.name for folder in self.trials.glob("*")}
        if self.remote is not None:
            with bucket_errors():
                found |= {entry.name for entry in (self.remote / self.trials.name).list()}
        return sorted(found)

    def in_bucket(self, path: Path) -> "Location":
        """Return where a file of the working copy lies in the bucket, of which there is one."""
        assert self.remote is not None, f"{self.root} is no working copy"
        return self.remote / path.relative_to(self.root).as_posix()

    @property
    def segments(self) -> "Location":
        """Folder of the record's parts in the bucket, of which there is one."""
        assert self.remote is not None, f"{self.root} is no working copy"
        return self.remote / "record"

    @property
    def copy_state(self) -> Path:
        """How far the working copy and the bucket are equal."""
        return self.root / "bucket.json"

    @property
    def copy_id(self) -> Path:
        """What tells the working copy from any other one."""
        return self.root / "bucket-copy.txt"

    @property
    def sent_files(self) -> Path:
        """Which files of the working copy the bucket has."""
        return self.root / "bucket-files.json"

    @property
    def copy_lock(self) -> Path:
        """Held while the working copy is brought up to date."""
        return self.root / "bucket.lock"


@dataclass(frozen=True)
class StudiesFolder:
    """The folder of all studies and of the tracking store that they share.

    Attributes:
        root: on this machine; of studies in a bucket, the folder of their working copies.
        remote: in a bucket, None where `root` is all there is.
    """

    root: Path
    remote: "Location | None" = None

    @property
    def place(self) -> str:
        """The path or URI of the studies, to be shown."""
        return str(self.root if self.remote is None else self.remote)

    @property
    def mlflow_db(self) -> Path:
        """The default tracking store."""
        return self.root / TRACKING_FILE

    @property
    def mlflow_artifacts(self) -> Path:
        """The default place of MLflow's artifacts."""
        return self.root / TRACKING_ARTIFACTS

    def study(self, name: str) -> StudyPaths:
        """Return the paths of a study, which need not exist; StudyError for an unusable name."""
        return self.listed(check_study_name(name))

    def listed(self, name: str) -> StudyPaths:
        """Return the paths of a study that is there, under whatever name."""
        return StudyPaths(self.root / name, None if self.remote is None else self.remote / name)

    def names(self) -> list[str]:
        """Return the names of the studies that have a record or a configuration, sorted.

        Raises:
            StudyError: the bucket cannot be read.
        """
        if self.remote is None:
            return sorted(s.name for s in self._on_disk() if _is_begun(s))
        with bucket_errors():
            found = [entry.name for entry in self.remote.list() if not entry.is_file]
            studies = [self.listed(name) for name in found if study_name_fault(name) is None]
            with ThreadPoolExecutor(_MAX_REQUESTS) as threads:
                are_begun = threads.map(lambda s: bool(s.segments.list()), studies)
            names = {s.name for s, is_begun in zip(studies, are_begun, strict=True) if is_begun}
        on_disk = (s for s in self._on_disk() if study_name_fault(s.name) is None)
        return sorted(names | {s.name for s in on_disk if is_only_here(s)})

    def _on_disk(self) -> list[StudyPaths]:
        if not self.root.is_dir():
            return []
        return [self.listed(folder.name) for folder in self.root.iterdir() if folder.is_dir()]


def _is_begun(paths: StudyPaths) -> bool:
    return paths.record.exists() or paths.study_yaml.exists()


def is_only_here(paths: StudyPaths) -> bool:
    """Return whether a study never came into its bucket, which failed when it had just begun."""
    return _size(paths.record) > 0 and not paths.copy_state.exists()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
