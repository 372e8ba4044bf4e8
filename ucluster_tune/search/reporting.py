"""The report of a search that ended: written beside the search, which it never ends or holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

_LOGGER = logging.getLogger(__name__)
_TIMEOUT_S = 180.0  # it takes some seconds, on a busy machine a minute


@dataclass(frozen=True)
class WrittenReport:
    """The report of a search, as it was written.

    Attributes:
        page: the file to open; its folder holds all that belongs to it.
        words: the answer, as Markdown.
    """

    page: Path
    words: str


WriteReport = Callable[[StudyRecord, StudyPaths], WrittenReport]


def report_in_time(
    write: WriteReport,
    record: StudyRecord,
    paths: StudyPaths,
    say: Callable[[str], None],
    timeout_s: float = _TIMEOUT_S,
) -> WrittenReport | None:
    """Write the report of a search; None where that fails or takes too long, and tell why.

    Args:
        write: does it, in a thread of its own.
        record: of the study, which nothing changes meanwhile.
        paths: of its files.
        say: shows one line.
        timeout_s: limit of the wait.
    """
    writing = begin(lambda: write(record, paths), "write-report")
    try:
        if is_done(writing, timeout_s):
            return writing.result()
        why = f"it was not written within {timeout_s:g} s"
    except Exception as error:
        _LOGGER.exception("no report of study %s", paths.name)
        why = str(error) or type(error).__name__
    say(f"No report: {why}; type `ucluster-tune report {paths.name}` to try again")
    return None
