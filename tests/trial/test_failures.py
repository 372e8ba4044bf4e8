"""The one table of failures, in code and in the document."""

import re
from pathlib import Path

import pytest

from ucluster_tune.errors import CheckpointError, DataError, TrainingError, TrialError
from ucluster_tune.trial.failures import (
    FAILURE_KINDS,
    FailureKind,
    NodeLostError,
    OutOfMemoryError,
    ProgramError,
    WorkerLostError,
    WorkerSilentError,
    kind_of,
    same_cause,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_document_shows_the_table_of_the_code() -> None:
    rows = re.findall(
        r"^\| (\w+) \| ([^|]+) \| (no|yes|always) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    assert {name: (meaning, again) for name, meaning, again in rows} == {
        kind.name: (kind.meaning, again_in_words(kind)) for kind in FAILURE_KINDS.values()
    }


def again_in_words(kind: FailureKind) -> str:
    return ("yes" if kind.is_counted else "always") if kind.is_retried else "no"


@pytest.mark.parametrize(
    ("error", "name", "is_retried"),
    [
        (NodeLostError("gone"), "node_lost", True),
        (WorkerLostError("gone"), "worker_lost", True),
        (WorkerSilentError("gone"), "worker_lost", True),
        (OutOfMemoryError("full"), "memory", False),
        (ProgramError("bug"), "program", False),
        (TrainingError("nan"), "training", False),
        (DataError("cut"), "data", False),
        (CheckpointError("full"), "checkpoint", False),
        (TrialError("other"), "program", False),
        (ZeroDivisionError("zero"), "program", False),
    ],
)
def test_kind_follows_the_class_of_the_error(
    error: Exception, name: str, is_retried: bool
) -> None:
    assert (kind_of(error).name, kind_of(error).is_retried) == (name, is_retried)


def test_causes_are_the_same_but_for_numbers() -> None:
    first = same_cause("program", "worker 1 failed:\nTraceback, line 12\nValueError: shape (3, 4)")
    second = same_cause("program", "worker 0 failed:\nTraceback, line 7\nValueError: shape (5, 6)")
    assert first == second
    assert first != same_cause("program", "worker 0 failed:\nValueError: dtype")
    assert first != same_cause("training", "ValueError: shape (5, 6)")
