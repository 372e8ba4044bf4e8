"""A study's record sent to an MLflow store that was out of reach while it ran.

The mirror of a search does it, on a record of its own: the study's journal, and the store that it
names, stay as they are. Which runs are the study's is told by its id, and what a store lacks by
comparing, so that it may be sent again and again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from ucluster_tune.config.loading import dump_config
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import explained, write_whole
from ucluster_tune.study.events import Event
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.opening import study_config_of
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import read_study
from ucluster_tune.tracking.mlflow.tracked_study import study_metrics, study_mirror
from ucluster_tune.tracking.mlflow.tracker import Tracker

TIMEOUT_S = 600.0
_OTHER_SYNC_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class SentStudy:
    """What a store has of a study.

    Attributes:
        record: of the study, with the runs of that store.
        changes: what the store had otherwise than the record, one line each.
    """

    record: StudyRecord
    changes: list[str]


class _NoJournal:
    """Takes events that are not the study's own: which runs another store has."""

    def append(self, event: Event) -> None:
        """Keep nothing."""


def send_study(
    paths: StudyPaths,
    folder: StudiesFolder,
    uri: str,
    words_of: Callable[[StudyRecord], str],
    timeout_s: float = TIMEOUT_S,
) -> SentStudy:
    """Send what a store lacks of a study, whether it runs, has ended or was killed.

    Args:
        paths: of the study.
        folder: of all studies.
        uri: of the store.
        words_of: the answer, as Markdown, where the study has a report.
        timeout_s: limit of the wait.

    Raises:
        StudyError: the store cannot be reached or written in time; what it has by then it keeps,
            and the next call goes on.
    """
    record = read_study(paths)
    record.forget_runs()
    config = study_config_of(record, paths)
    with _alone(paths):
        if not paths.study_yaml.exists():
            write_whole(paths.study_yaml, dump_config(config))
        tracker = Tracker.open(config.tracking.model_copy(update={"uri": uri}), folder.root)
        keeper = RecordKeeper(_NoJournal(), record)
        mirror = study_mirror(config, keeper, paths, folder, lambda _trial: None, tracker)
        mirror.start()
        if not mirror.close(timeout_s):
            reason = mirror.last_failure or f"{timeout_s:g} s were not enough"
            raise StudyError(
                f"{tracker.uri} has not all of study {record.name}: {reason}; call this command"
                " again, and it goes on there"
            )
        if record.state != "running" and not mirror.study_says(record.state):
            mirror.end_study(record.state, study_metrics(record))
        if paths.report_page.is_file():
            mirror.tell_answer(paths.report, words_of(record))
    return SentStudy(record, mirror.changes)


@contextmanager
def _alone(paths: StudyPaths) -> Iterator[None]:
    """Hold off another process that sends the study: both would make its runs."""
    lock = FileLock(paths.sync_lock)
    with explained(paths.sync_lock, StudyError):
        try:
            lock.acquire(timeout=_OTHER_SYNC_TIMEOUT_S)
        except Timeout:  # an OSError too
            raise StudyError(
                f"another process sends study {paths.name} at the moment; wait for its end"
            ) from None
    try:
        yield
    finally:
        lock.release()
