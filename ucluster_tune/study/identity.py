"""Which study a folder holds: a copied folder has the same record as the study it was copied from.

A study's name is its folder's. Its id, by which MLflow and Optuna's databases know it, stands in
its record, and a copied folder brings it along. Of all folders with one id, the one that has the
name in the record has a right to it, or else the first by name; any other one is a copy, which
gets an id of its own before anything of it is written.
"""

import json
from pathlib import Path

from ucluster_tune.study.events import StudyCopied
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

COPIED = "is a copy of study {}: it has an identity, and runs in MLflow, of its own from now on"


def original_of(paths: StudyPaths, record: StudyRecord) -> str | None:
    """Return the name of the study of which this one is a copy that has no id of its own yet.

    Args:
        paths: of the study, on a disk: copies in a bucket are not looked for.
        record: of the study.
    """
    if paths.remote is not None:
        return None
    same = [paths.name]
    for other in sorted(paths.root.parent.glob("*/record.jsonl")):
        if other != paths.record and _study_id(other) == record.study_id:
            same.append(other.parent.name)
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


def _study_id(journal: Path) -> str | None:
    """Return the id in a study's record; None where there is none, or it is damaged."""
    try:
        with journal.open("rb") as file:
            first = json.loads(file.readline())
            text = file.read()
        if b'"study_copied"' in text:
            return read_record(journal).study_id
        return str(first["study_id"])
    except Exception:  # noqa: BLE001  # whatever it is, it is not the study that is asked for
        return None
