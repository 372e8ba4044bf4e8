"""The folder of a study that begins: made, locked, and with the log of all that happens."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.one_trial import study_of_one
from ucluster_tune.config.points import trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import explained, write_whole
from ucluster_tune.study.bucket.copy import is_in_bucket
from ucluster_tune.study.lock import DriverLock, is_driven
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrialState

_LOGGER = logging.getLogger(__name__)


def refuse_existing(paths: StudyPaths) -> None:
    """Raise StudyError where the study exists already; one that was killed before it began not."""
    if paths.remote is not None:
        exists = is_in_bucket(paths)
    else:
        exists = paths.root.exists() and not _never_began(paths)
    if exists and is_driven(paths):
        raise StudyError(
            f"study {paths.name} runs already, in {paths.place}: watch it with `ucluster-tune"
            f" status {paths.name} --follow`, end it in order with `ucluster-tune stop"
            f" {paths.name}`, or give the new one another name with --name"
        )
    if exists and paths.remote is None and not _size(paths.record):
        raise StudyError(
            f"{paths.root} is there without a record ({paths.record.name}), so that it is no study"
            " that can go on: a copy that broke off? Copy it again from where it came, remove the"
            " folder, or give the new study another name with --name"
        )
    if exists:
        raise _exists_already(paths)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _exists_already(paths: StudyPaths) -> StudyError:
    return StudyError(
        f"study {paths.name} exists already, in {paths.place}: carry it on with"
        f" `ucluster-tune resume {paths.name}`, give it more trials with"
        f" `ucluster-tune extend {paths.name} --trials N`, or give the new one another name"
        " with --name"
    )


@contextmanager
def study_folder(config: StudyConfig, paths: StudyPaths) -> Iterator[None]:
    """Make the study's folder and hold its lock; a folder without a record does not stay.

    Raises:
        StudyError: it cannot be made or written.
    """
    with explained(paths.root, StudyError, "; --studies-dir names another folder"):
        paths.root.mkdir(parents=True, exist_ok=True)
        paths.trials.mkdir(exist_ok=True)
    try:
        with DriverLock(paths):
            if paths.record.exists() and paths.record.stat().st_size:
                raise _exists_already(paths)  # another driver was faster
            with explained(paths.study_yaml, StudyError):
                write_whole(paths.study_yaml, dump_config(config))
            yield
    finally:
        if not paths.record.exists() or not paths.record.stat().st_size:
            _remove_empty_study(paths)  # nothing of it came into a bucket


def _remove_empty_study(paths: StudyPaths) -> None:
    own = (paths.record, paths.study_yaml, paths.log, paths.lock, paths.driver)
    for path in (*own, paths.copy_state, paths.copy_id, paths.copy_lock, paths.sent_files):
        with suppress(OSError):  # must not hide why it came to this
            path.unlink(missing_ok=True)
    for folder in (paths.trials, paths.root):
        try:
            folder.rmdir()
        except OSError:
            _LOGGER.debug("%s is not empty", folder)


def _never_began(paths: StudyPaths) -> bool:
    """Return whether a folder is what a driver left that was killed before its first event."""
    if is_driven(paths):
        return False
    own = {paths.record, paths.study_yaml, paths.log, paths.lock, paths.driver, paths.trials}
    is_empty = not paths.record.exists() or not paths.record.stat().st_size
    found = set(paths.root.iterdir()) if paths.root.is_dir() else {paths.root}
    return is_empty and found <= own and not any(paths.trials.glob("*"))


def write_best(paths: StudyPaths, config: StudyConfig, record: StudyRecord) -> None:
    """Write the best trial's configuration, where there is one."""
    if record.best is not None:
        write_whole(paths.best_yaml, best_config(config, record))


def best_config(config: StudyConfig, record: StudyRecord) -> str:
    """Return the configuration of the best trial, of which there is one, as YAML."""
    assert record.best is not None, "no trial finished an epoch"
    return config_of_trial(config, record.best)


def config_of_trial(config: StudyConfig, trial: TrialState) -> str:
    """Return the configuration of a trial's best training, as YAML."""
    return dump_config(study_of_one(config, trial_config(config, trial.at_best)))


@contextmanager
def log_to_study(paths: StudyPaths) -> Iterator[None]:
    """Send the log of this process, Ray's and Tune's included, to the study's folder."""
    handler = _QuietFileHandler(paths.log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root, ray = logging.getLogger(), logging.getLogger("ray")
    before = [(logger, logger.handlers[:], logger.propagate) for logger in (root, ray)]
    level = root.level
    root.handlers = [handler]
    ray.handlers, ray.propagate = [], True  # ray.init takes its handlers away
    root.setLevel(logging.INFO)
    try:
        with redirect_stdout(handler.stream):  # Ray writes news of dead workers there
            yield
    finally:
        root.setLevel(level)
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        with suppress(OSError):
            handler.close()


class _QuietFileHandler(logging.FileHandler):
    """A log that cannot be written, on a full disk, is no reason to fill the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Do nothing; what cannot be written to the journal ends the search."""
