"""Why the process of a trial is gone, from the error that Tune kept of it."""

from collections.abc import Callable
from pathlib import Path

from ray import cloudpickle
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from ucluster_tune.errors import CheckpointError, UClusterTuneError
from ucluster_tune.storage.whole_files import cannot_be_written, takes_nothing
from ucluster_tune.trial.failures import (
    NODE_LOST,
    NodeLostError,
    OutOfMemoryError,
    ProgramError,
    TrialFailure,
    WorkerLostError,
    kind_of,
)
from ucluster_tune.trial.processes.nodes import VERDICT_TIMEOUT_S, lost_nodes
from ucluster_tune.trial.processes.ray_internals import (
    BEFORE_FAILURE,
    LOW_ON_MEMORY,
    WITH_ITS_NODE,
)

_PROCESS_LOST = "its process crashed or was killed, perhaps for want of memory"


def failure_of(trial: Trial, nodes: frozenset[str], is_over: Callable[[], bool]) -> TrialFailure:
    """Return why Tune's call to a trial's process failed.

    Where the process can only not be reached, wait until Ray knows whether a node is gone: it may
    start the trial on that very node until then.

    Args:
        trial: of Tune, after the failure.
        nodes: that lived when the trial's process began.
        is_over: tells that it does not matter any more.
    """
    error = _take_error(trial)
    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else error
    if isinstance(cause, UClusterTuneError):
        return TrialFailure(str(cause), kind_of(cause))
    if isinstance(cause, OSError) and takes_nothing(cause):
        text = cannot_be_written(cause.filename or "a file of its process", cause)
        return TrialFailure(text, kind_of(CheckpointError()))
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return _of_lost_process(error, nodes, is_over)
    path = Path(trial.error_file or "")
    text = path.read_text(encoding="utf-8") if path.is_file() else str(error or "unknown")
    if error is not None:
        return TrialFailure(text, kind_of(ProgramError()))
    # Of neither the program nor the actor: about the way to the process, or Ray ended it.
    if LOW_ON_MEMORY in text.rpartition(BEFORE_FAILURE)[2]:  # of several failures the last one
        return TrialFailure(
            "its process was ended: its machine ran low on memory", kind_of(OutOfMemoryError())
        )
    return TrialFailure(text, kind_of(WorkerLostError()))


def _of_lost_process(
    error: RayActorError, nodes: frozenset[str], is_over: Callable[[], bool]
) -> TrialFailure:
    is_unclear = isinstance(error, ActorUnavailableError)
    is_of_node = WITH_ITS_NODE in str(error)
    if is_of_node or (is_unclear and lost_nodes(nodes, VERDICT_TIMEOUT_S, is_over)):
        return TrialFailure(NODE_LOST, kind_of(NodeLostError()))
    return TrialFailure(_PROCESS_LOST, kind_of(WorkerLostError()))


def _take_error(trial: Trial) -> Exception | None:
    """Return the error, once: Tune keeps the file where a later failure leaves none."""
    # Not trial.get_error(): it reads Tune's copies of these files, which are made later.
    path = Path(trial.pickled_error_file or "")
    if not path.is_file():
        return None
    error = cloudpickle.loads(path.read_bytes())
    path.unlink()
    return error if isinstance(error, Exception) else None
