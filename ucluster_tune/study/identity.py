"""Which study a folder holds: a copied folder has the same record as the study it was copied from.

A study's name is its folder's. Its id, by which MLflow and Optuna's databases know it, stands in
its record, and a copied folder brings it along. Of all folders with one id, the one that has the
name in the record has a right to it, or else the first by name; any other one is a copy, which
gets an id of its own before anything of it is written.
"""

from collections.abc import Iterator

from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.study.bucket.copy import record_in_bucket, refresh
from ucluster_tune.study.events import StudyCopied
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord

COPIED = "is a copy of study {}: it has an identity, and runs in MLflow, of its own from now on"


def original_of(paths: StudyPaths, record: StudyRecord) -> str | None:
    """Return the name of the study of which this one is a copy that has no id of its own yet.

    Args:
        paths: of the study, on a disk or in a bucket, up to date.
        record: of the study.

    Raises:
        StudyError: the bucket cannot be read.
    """
    copies = (other.name for other in _copies_of(paths) if _study_id(other) == record.study_id)
    same = [paths.name, *copies]
    owner = record.recorded_name if record.recorded_name in same else min(same)
    return None if owner == paths.name else owner


def become_own_study(paths: StudyPaths, record: StudyRecord) -> StudyCopied | None:
    """Return, once the record has taken it in, the event that gives a copy an id of its own."""
    original = original_of(paths, record)
    if original is None:
        return None
    event = StudyCopied(original=original, name=paths.name)
    record.apply(event)
    return event


def _copies_of(paths: StudyPaths) -> Iterator[StudyPaths]:
    """Yield the studies beside this one that begin with the same event, as copies do."""
    first = _first_line(paths)
    folder = StudiesFolder(paths.root.parent)
    if paths.remote is not None:
        from ucluster_tune.storage.locations import locate  # loads Arrow

        folder = StudiesFolder(paths.root.parent, locate(paths.studies_place))
    for name in folder.names():
        other = folder.listed(name)
        if name != paths.name and _first_line(other) == first:
            yield other


def _first_line(paths: StudyPaths) -> bytes:
    """Return the beginning of a record; nothing where there is none, or it cannot be read."""
    try:
        if paths.remote is None:
            with paths.record.open("rb") as file:
                return file.readline()
        first = record_in_bucket(paths)[0]
        return (paths.segments / first.name).read_bytes().partition(b"\n")[0]
    except (OSError, IndexError, UClusterTuneError):
        return b""


def _study_id(paths: StudyPaths) -> str | None:
    """Return the id in a study's record; None where it is damaged."""
    try:
        refresh(paths)
        return read_record(paths.record).study_id
    except Exception:  # noqa: BLE001  # whatever it is, it is not the study that is asked for
        return None
