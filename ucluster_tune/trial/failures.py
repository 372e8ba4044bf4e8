"""What a trial's failure means: which are tried again, and which would only fail again.

The one table of it; `docs/reliability.md` shows it, and a test holds the two together.
"""

import re
from dataclasses import dataclass

from ucluster_tune.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    MachineError,
    ModelError,
    TrainingError,
    TrialError,
    UnreachableError,
)

NODE_LOST = "a node on which it ran was lost"


class NodeLostError(TrialError):
    """A node on which the trial ran is gone."""


class WorkerLostError(TrialError):
    """A worker's process is gone."""


class WorkerSilentError(WorkerLostError):
    """A worker does not answer: its process is gone, or its node, which Ray tells later."""


class ConnectionLostError(WorkerLostError):
    """A worker missed another one, which failed first but may be slower to be seen."""


class NoAnswerError(ConnectionLostError, WorkerSilentError):
    """The same, and the other one stays silent."""


class StartError(TrialError):
    """The worker processes, or the server where they find each other, did not start."""


class WaitError(TrialError):
    """A wait for the workers came to its limit."""


class OutOfMemoryError(TrialError):
    """A worker needed more memory than there is."""


class ProgramError(TrialError):
    """A worker raised an error that nobody foresaw."""


@dataclass(frozen=True)
class FailureKind:
    """How failures of one kind are met.

    Attributes:
        name: as the record and `status` have it.
        meaning: in words.
        is_retried: whether the trial goes on from its last checkpoint.
        is_counted: whether that is done up to `failures.max_retries` times only. Machines that are
            taken away say nothing about the trial.
    """

    name: str
    meaning: str
    is_retried: bool
    is_counted: bool = True


@dataclass(frozen=True)
class TrialFailure:
    """What a trial failed of, in words and as a kind."""

    cause: str
    kind: FailureKind


_PROGRAM = FailureKind("program", "an error that nobody foresaw", False)

# By class of the error; the first that fits.
FAILURE_KINDS: dict[type[BaseException], FailureKind] = {
    NodeLostError: FailureKind("node_lost", "a node on which it ran is gone", True, False),
    WorkerLostError: FailureKind("worker_lost", "a process of it is gone", True),
    StartError: FailureKind("start", "the workers did not find each other", True),
    WaitError: FailureKind("wait", "the workers did not answer within the limit", True),
    TrainingError: FailureKind(
        "training", "training cannot go on: a loss that is not finite, a dead embedding", False
    ),
    OutOfMemoryError: FailureKind("memory", "more memory was needed than there is", False),
    UnreachableError: FailureKind("storage", "the storage of the jets does not answer", True),
    DataError: FailureKind("data", "the jets cannot be read", False),
    CheckpointError: FailureKind("checkpoint", "a checkpoint cannot be written or read", False),
    ConfigurationError: FailureKind("configuration", "hyperparameters that are not legal", False),
    ModelError: FailureKind("model", "weights that do not fit the network", False),
    MachineError: FailureKind("machine", "the machine lacks what training needs", False),
    ProgramError: _PROGRAM,
}


def kind_of(error: BaseException) -> FailureKind:
    """Return the kind of a failure."""
    return next((kind for cls, kind in FAILURE_KINDS.items() if isinstance(error, cls)), _PROGRAM)


def same_cause(kind: str, cause: str) -> str:
    """Return what two failures for the same cause have in common: numbers and places differ.

    >>> same_cause("training", "loss is not finite (focal nan) in epoch 3, step 17: lower it")
    'training: loss is not finite (focal nan) in epoch N, step N: lower it'
    """
    lines = cause.strip().splitlines()
    telling = lines[-1] if kind == _PROGRAM.name and lines else "".join(lines[:1])
    return f"{kind}: {re.sub(r'[-+]?[0-9][0-9.e+-]*', 'N', telling.strip())}"


def in_one_line(kind: str | None, cause: str) -> str:
    """Return a cause without its traceback: what it is of, and the error itself.

    >>> in_one_line("program", "worker 0 failed:\\n  File a.py, line 3\\nKeyError: 'b'")
    "worker 0 failed: KeyError: 'b'"
    >>> in_one_line("training", "loss is not finite")
    'loss is not finite'
    """
    lines = cause.strip().splitlines() or [""]
    if kind == _PROGRAM.name and len(lines) > 1:
        return f"{lines[0].rstrip(':')}: {lines[-1].strip()}"
    return lines[0]
