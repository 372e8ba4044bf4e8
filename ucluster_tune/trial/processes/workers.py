"""The Horovod workers of one trial, started through Horovod's RayExecutor, and their end.

Three habits of RayExecutor are mended here: its start waits without limit, its shutdown leaves
the workers alive, and when one worker fails the others wait for it for ever. A fourth, that it
listens on every address, is mended in `trial.processes.network`.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import ray

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import CheckpointError, MachineError, TrialError, UClusterTuneError
from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.storage.whole_files import cannot_be_written, takes_nothing
from ucluster_tune.trial.failures import (
    NODE_LOST,
    NodeLostError,
    OutOfMemoryError,
    ProgramError,
    StartError,
    WaitError,
    WorkerLostError,
    WorkerSilentError,
)
from ucluster_tune.trial.processes.network import PrivateExecutor, use_own_interface
from ucluster_tune.trial.processes.nodes import VERDICT_TIMEOUT_S, lost_nodes, nodes_of_this_trial
from ucluster_tune.trial.processes.worker import TrainingWorker

_LOGGER = logging.getLogger(__name__)
_START_ATTEMPTS = 3
_BACK_OFF_S = 2.0
_KILL_TIMEOUT_S = 20.0
_POLL_S = 0.2
_CAUSE_TIMEOUT_S = 15.0
# How Horovod, and Gloo below it, tell that another worker is gone; Gloo by its source file.
_OF_CONNECTION = re.compile("Horovod|gloo/transport")
Result = TypeVar("Result")


class HorovodWorkers:
    """A group of workers that lives until `kill`.

    Args:
        config: of the trial.
        folder: of the trial.
        resources: workers, CPUs and GPUs.
        objective: what makes an epoch the best.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: str,
        resources: ResourcesConfig,
        objective: ObjectiveConfig,
    ) -> None:
        self._resources = resources
        self._arguments = (
            config.model_dump(mode="json"),
            folder,
            max(1, math.floor(resources.cpus_per_worker)),
            objective.model_dump(mode="json"),
            resources.gpus_per_worker > 0,
            resources.cpu_fallback,
        )
        self._nodes: frozenset[str] = frozenset()
        self._executor: PrivateExecutor | None = None
        self._start: Future[None] | None = None

    def start(self) -> None:
        """Start the workers; several groups on a node can race in the rendezvous: tried again.

        Raises:
            UClusterTuneError: of a worker, as it is.
            TrialError: they did not start, with the traceback of the worker that failed; a
                `NodeLostError` where that is the reason.
        """
        self._nodes = nodes_of_this_trial()
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                with self._lost_nodes_told(is_start=True):
                    self._start_once()
                return
            except WaitError:  # what still starts would stand in the way of another attempt
                self.kill()
                raise
            except (StartError, WorkerLostError) as error:  # a rendezvous that fails ends a worker
                self.kill()
                if attempt == _START_ATTEMPTS:
                    raise StartError(
                        f"the workers did not find each other in {attempt} attempts: {error}"
                    ) from error
                _LOGGER.warning("workers did not start, attempt %d: %s", attempt, error)
                time.sleep(_BACK_OFF_S * attempt)
            except BaseException:
                self.kill()
                raise

    def run_epoch(self) -> dict[str, Any]:
        """Return rank 0's record of the next epoch.

        Raises:
            UClusterTuneError: of a worker, as it is.
            TrialError: a worker failed or died, with its traceback, or the epoch took too long; a
                `NodeLostError` where its node is gone.
        """
        records = self._on_all(
            lambda worker: worker.run_epoch(), self._resources.epoch_timeout_s, "an epoch"
        )
        return records[0]

    def restored(self) -> list[dict[str, Any]]:
        """Return the last records up to the epoch whose checkpoint the workers started from."""
        limit_s = self._resources.start_timeout_s
        return self._on_all(lambda worker: worker.restored(), limit_s, "the workers")[0]

    def kill(self) -> None:
        """End all workers at once; returns when they are gone."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        actors = self._kill_actors(executor)
        adapter = getattr(executor, "adapter", None)
        rendezvous = getattr(getattr(adapter, "coordinator", None), "rendezvous", None)
        if rendezvous is not None:
            rendezvous.stop()
        if adapter is not None:
            executor.shutdown()
        _wait_until_dead(actors)

    def _kill_actors(self, executor: PrivateExecutor) -> list[Any]:
        """Kill what was started, and what a start that was given up still adds until it ends."""
        start, self._start = self._start, None
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while True:
            starts = start is not None and not start.done()
            strategy = getattr(
                getattr(executor, "adapter", None), "strategy", None
            )  # knows them first
            actors = list(getattr(strategy, "workers", None) or [])
            for actor in actors:
                ray.kill(actor, no_restart=True)
            if start is None or not starts:
                return actors
            if time.monotonic() > deadline:
                _LOGGER.warning("workers still start after they were killed")
                return actors
            is_done(start, _POLL_S)

    def _start_once(self) -> None:
        resources = self._resources
        limit_s = resources.start_timeout_s
        executor = PrivateExecutor(
            PrivateExecutor.create_settings(
                int(limit_s), placement_group_timeout_s=int(limit_s) + 1
            ),
            num_workers=resources.workers_per_trial,
            cpus_per_worker=resources.cpus_per_worker,
            use_gpu=resources.gpus_per_worker > 0,
            gpus_per_worker=resources.gpus_per_worker or None,
            use_current_placement_group=True,
        )
        self._executor = executor
        environment = {
            "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(limit_s)),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "OMP_NUM_THREADS": str(self._arguments[2]),
        }
        self._wait_for_start(lambda: executor.start(extra_env_vars=environment), limit_s)
        actors = executor.adapter.workers
        references = [actor.execute.remote(use_own_interface) for actor in actors]
        _collect(references, limit_s, "the workers to tell their network interfaces")
        references = [
            actor.start_executable.remote(TrainingWorker, list(self._arguments))
            for actor in actors
        ]
        _collect(references, limit_s, "the workers to find each other and read their jets")

    def _wait_for_start(self, function: Callable[[], None], limit_s: float) -> None:
        """Call `function`, but wait for it no longer than the limit."""
        self._start = begin(function, "start-workers")
        if not is_done(self._start, limit_s):
            raise WaitError(f"waited {limit_s:g} s for the worker processes to start")
        failure = self._start.exception()
        if isinstance(failure, MachineError):
            raise failure
        if failure is not None:
            raise StartError(f"the workers could not be started: {failure}") from failure

    def _on_all(
        self, function: Callable[[TrainingWorker], Result], limit_s: float, what: str
    ) -> list[Result]:
        assert self._executor is not None, "the workers were not started"
        references = [actor.execute.remote(function) for actor in self._executor.adapter.workers]
        try:
            with self._lost_nodes_told():
                return _collect(references, limit_s, what)
        except BaseException:
            self.kill()
            raise

    @contextmanager
    def _lost_nodes_told(self, is_start: bool = False) -> Iterator[None]:
        """Raise NodeLostError in place of what the loss of a node looks like to the others."""
        try:
            yield
        except (WorkerLostError, StartError, WaitError) as error:
            # At a start, workers that miss each other is what a race in the rendezvous looks like.
            is_race = is_start and isinstance(error, _ConnectionLostError)
            is_unclear = isinstance(error, WorkerSilentError) and not is_race
            if lost_nodes(self._nodes, VERDICT_TIMEOUT_S if is_unclear else 0.0):
                raise NodeLostError(NODE_LOST) from error
            raise


def _collect(references: list[Any], limit_s: float, what: str) -> list[Any]:
    """Return all results, in order; raise at the first failure without waiting for the others."""
    deadline = time.monotonic() + limit_s
    waiting = list(references)
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            ranks = [references.index(reference) for reference in waiting]
            raise WaitError(f"waited {limit_s:g} s for {what}; no answer of workers {ranks}")
        for reference in ready:
            failure = _failure(reference, references.index(reference))
            if isinstance(failure, _ConnectionLostError):
                failure = _first_cause(references, waiting) or failure
            if failure is not None:
                raise failure
    return list(ray.get(references))


def _told(error: ray.exceptions.RayTaskError, rank: int) -> UClusterTuneError:
    """Return what an error means that a library raised in a worker."""
    cause = error.cause
    if isinstance(cause, OSError) and takes_nothing(cause):  # its log, or a library's own file
        place = cause.filename or f"a file of worker {rank}"
        return CheckpointError(cannot_be_written(place, cause))
    if isinstance(cause, MemoryError) or type(cause).__name__ == "ResourceExhaustedError":
        lines = [line.strip() for line in str(cause).splitlines()]
        what = next((line for line in lines if "OOM" in line), lines[0] if lines else "")
        return OutOfMemoryError(
            f"worker {rank} needed more memory than there is: lower training.global_batch_size,"
            f" model.n_neighbors or the widths, or take more workers ({what or 'no room left'})"
        )
    kind = _ConnectionLostError if _OF_CONNECTION.search(str(cause)) else ProgramError
    return kind(f"worker {rank} failed:\n{error}")


class _ConnectionLostError(WorkerLostError):
    """A worker missed another one, which failed first but may be slower to be seen."""


class _NoAnswerError(_ConnectionLostError, WorkerSilentError):
    """The same, and the other one stays silent."""


def _first_cause(references: list[Any], waiting: list[Any]) -> UClusterTuneError | None:
    """Return why one of the workers failed that had not answered yet."""
    deadline = time.monotonic() + _CAUSE_TIMEOUT_S
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            ranks = [references.index(reference) for reference in waiting]
            return _NoAnswerError(f"the connection to workers {ranks} was lost")
        failure = _failure(ready[0], references.index(ready[0]))
        if failure is not None and not isinstance(failure, _ConnectionLostError):
            return failure
    return None


def _failure(reference: Any, rank: int) -> UClusterTuneError | None:
    """Return why a worker that answered failed, None if it did not."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UClusterTuneError):
            return error.cause
        return _told(error, rank)
    except ray.exceptions.RayActorError as error:
        return _loss(error, rank)
    except ray.exceptions.RayError as error:
        return WorkerLostError(f"worker {rank} gave no answer: {error}")
    return None


def _loss(error: ray.exceptions.RayActorError, rank: int) -> TrialError:
    """Return why a worker is not there any more."""
    if "low on memory" in str(error):  # Ray's own watch over memory
        return OutOfMemoryError(f"worker {rank} was ended: its machine ran low on memory")
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return WorkerSilentError(f"worker {rank} cannot be reached any more")
    return WorkerLostError(
        f"worker {rank} died: its process crashed or was killed, perhaps for want of memory;"
        " its last words are in the trial's workers.log"
    )


def _wait_until_dead(actors: list[Any]) -> None:
    """Wait until no actor answers any more."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    for actor in actors:
        left = max(0.1, deadline - time.monotonic())
        try:
            ray.get(actor.hostname.remote(), timeout=left)
        except ray.exceptions.RayError:
            continue
        _LOGGER.warning("a worker still answers after it was killed")
