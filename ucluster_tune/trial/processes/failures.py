"""What a worker failed of, by the type of what was raised: in its process, or by Ray about it.

Errors of this package pass as they are. What libraries raise in a worker is told in the worker
itself, where their types are known; what Ray raises of its process, in the process that waits.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ucluster_tune.errors import CheckpointError, TrialError, UClusterTuneError
from ucluster_tune.storage.whole_files import cannot_be_written, takes_nothing
from ucluster_tune.trial.failures import (
    ConnectionLostError,
    OutOfMemoryError,
    ProgramError,
    WorkerLostError,
    WorkerSilentError,
)


@contextmanager
def told_by_type(rank: int) -> Iterator[None]:
    """Raise what a library raises in this worker's process as an error of this package."""
    try:
        yield
    except UClusterTuneError:
        raise
    except Exception as error:
        raise failure_in_worker(error, rank) from error


def failure_in_worker(error: Exception, rank: int) -> UClusterTuneError:
    """Return what an error means that a library, or this program, raised in a worker."""
    if isinstance(error, OSError) and takes_nothing(error):  # its log, or a library's own file
        place = error.filename or f"a file of worker {rank}"
        return CheckpointError(cannot_be_written(place, error))
    in_full = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, MemoryError):
        return _out_of_memory(error, rank)
    if "tensorflow" in sys.modules:  # or the error is that it does not load
        from ucluster_tune.training.tensorflow_internals import (  # TensorFlow
            is_lost_connection,
            is_out_of_memory,
        )

        if is_out_of_memory(error):
            return _out_of_memory(error, rank)
        if is_lost_connection(error):
            return ConnectionLostError(f"worker {rank} failed:\n{in_full}")
    return ProgramError(f"worker {rank} failed:\n{in_full}")


def _out_of_memory(error: Exception, rank: int) -> OutOfMemoryError:
    lines = [line.strip() for line in str(error).splitlines()]
    what = next((line for line in lines if "OOM" in line), lines[0] if lines else "")
    return OutOfMemoryError(
        f"worker {rank} needed more memory than there is: lower training.global_batch_size,"
        f" model.n_neighbors or the widths, or take more workers ({what or 'no room left'})"
    )


def failure_of_call(error: ray.exceptions.RayError, rank: int) -> UClusterTuneError:
    """Return what it means that a call to a worker's process gave an error."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        if isinstance(cause, UClusterTuneError):
            return cause
        # Before its own code ran: the package is missing there, or is another one.
        return ProgramError(f"worker {rank} failed:\n{error}")
    return _failure_of_process(error, rank)


def _failure_of_process(error: ray.exceptions.RayError, rank: int) -> TrialError:
    if isinstance(error, ray.exceptions.OutOfMemoryError):  # Ray's own watch over memory
        return OutOfMemoryError(
            f"worker {rank} was ended: its machine ran low on memory; lower"
            " training.global_batch_size or the widths, or resources.max_concurrent_trials"
        )
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return WorkerSilentError(f"worker {rank} cannot be reached any more")
    if isinstance(error, ray.exceptions.RayActorError):
        return WorkerLostError(
            f"worker {rank} died: its process crashed or was killed, perhaps for want of memory;"
            " its last words are in the trial's workers.log"
        )
    return WorkerLostError(f"worker {rank} gave no answer: {error}")
