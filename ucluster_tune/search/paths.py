"""Where everything of a study lies on disk; the only place that knows these names."""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ucluster_tune.errors import StudyError
from ucluster_tune.trial.files import TrialFiles

STUDIES_VARIABLE = "UCLUSTER_TUNE_STUDIES"
DEFAULT_STUDIES = "studies"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TRACKING_FILE, _TRACKING_ARTIFACTS = "mlflow.db", "mlartifacts"


def studies_folder(option: str | None = None) -> Path:
    """Returns the studies folder: the option, else UCLUSTER_TUNE_STUDIES, else ./studies."""
    chosen = option or os.environ.get(STUDIES_VARIABLE) or DEFAULT_STUDIES
    return Path(chosen).expanduser().absolute()


def check_study_name(name: str) -> str:
    """Returns the name when it is safe as a folder's name; StudyError otherwise."""
    if not _NAME.fullmatch(name):
        shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
        raise StudyError(
            f"{shown} ({len(name)} characters) cannot name a study:"
            " use 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit"
        )
    if name.startswith((_TRACKING_FILE, _TRACKING_ARTIFACTS)):
        raise StudyError(
            f"{name!r} cannot name a study: it is kept for the MLflow store beside the studies;"
            " choose another name"
        )
    return name


def replace_file(path: Path, text: str) -> None:
    """Writes a file that others may read: under a temporary name, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it; nothing where there is none."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study."""

    root: Path

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
    def trials(self) -> Path:
        """Folder of the trials."""
        return self.root / "trials"

    def trial(self, trial_id: str) -> TrialFiles:
        """The files of one trial."""
        return TrialFiles(self.trials / trial_id)


@dataclass(frozen=True)
class StudiesFolder:
    """The folder of all studies and of the tracking store that they share."""

    root: Path

    @property
    def mlflow_db(self) -> Path:
        """The default tracking store."""
        return self.root / _TRACKING_FILE

    @property
    def mlflow_artifacts(self) -> Path:
        """The default place of MLflow's artifacts."""
        return self.root / _TRACKING_ARTIFACTS

    def study(self, name: str) -> StudyPaths:
        """The paths of a study, which need not exist; StudyError for a name that cannot be one."""
        return StudyPaths(self.root / check_study_name(name))

    def names(self) -> list[str]:
        """The names of the studies that have a record or a configuration, sorted."""
        if not self.root.is_dir():
            return []
        studies = (StudyPaths(folder) for folder in self.root.iterdir() if folder.is_dir())
        return sorted(s.name for s in studies if s.record.exists() or s.study_yaml.exists())
