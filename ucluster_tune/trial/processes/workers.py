"""A group of Horovod workers, started through Horovod's RayExecutor, and its end.

The processes are apart from the training in them: they can be given another one after it. Three
habits of RayExecutor are mended here: its start waits without limit, its shutdown leaves the
workers alive, and when one worker fails the others wait for it for ever. A fourth, that it listens
on every address, is mended in `trial.processes.horovod_internals`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import ray

from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.errors import MachineError, UClusterTuneError
from ucluster_tune.model.start import START_VARIABLES
from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.failures import (
    NODE_LOST,
    ConnectionLostError,
    NoAnswerError,
    NodeLostError,
    StartError,
    WaitError,
    WorkerLostError,
    WorkerSilentError,
)
from ucluster_tune.trial.processes.failures import failure_of_call
from ucluster_tune.trial.processes.horovod_internals import PrivateExecutor, use_own_interface
from ucluster_tune.trial.processes.nodes import VERDICT_TIMEOUT_S, lost_nodes, nodes_of_this_trial
from ucluster_tune.trial.processes.worker import HorovodWorker
from ucluster_tune.trial.training_task import TrainingTask, n_threads

_LOGGER = logging.getLogger(__name__)
_START_ATTEMPTS = 3
_BACK_OFF_S = 2.0
_KILL_TIMEOUT_S = 20.0
_POLL_S = 0.2
_CAUSE_TIMEOUT_S = 15.0
Result = TypeVar("Result")


class HorovodWorkers:
    """A group of processes that lives until `kill`, or until one of them fails.

    Args:
        resources: workers, CPUs and GPUs, and how long they are waited for.
        log_folder: path or URI of the folder where they write of their start.

    Attributes:
        grown_mib: by how much the memory of one of them has grown at most, after a training ended,
            since its first one did.
    """

    def __init__(self, resources: ResourcesConfig, log_folder: str) -> None:
        self._resources, self._log_folder = resources, log_folder
        self.grown_mib = 0.0
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

    def begin(self, task: TrainingTask) -> list[EpochRecord]:
        """Return the last records up to the epoch whose checkpoint the training goes on from.

        Raises:
            UClusterTuneError: of a worker, as it is.
            TrialError: as `run_epoch` does.
        """
        return self.ask(
            lambda worker: worker.begin(task),
            self._resources.start_timeout_s,
            "the workers to read their jets",
        )[0]

    def run_epoch(self) -> EpochRecord:
        """Return rank 0's record of the next epoch.

        Raises:
            UClusterTuneError: of a worker, as it is.
            TrialError: a worker failed or died, with its traceback, or the epoch took too long; a
                `NodeLostError` where its node is gone.
        """
        limit_s = self._resources.epoch_timeout_s
        return self.ask(lambda worker: worker.run_epoch(), limit_s, "an epoch")[0]

    def end(self) -> None:
        """Have the workers let go of the training, so that they can be given another one.

        Raises:
            TrialError: as `run_epoch` does.
        """
        limit_s = self._resources.start_timeout_s
        self.grown_mib = max(self.ask(lambda worker: worker.end(), limit_s, "the end"))

    def ask(
        self, function: Callable[[HorovodWorker], Result], limit_s: float, what: str
    ) -> list[Result]:
        """Return what a function gives in each worker's process, by rank; kill all if one fails.

        Args:
            function: sent to the workers by value.
            limit_s: of the wait.
            what: is waited for, in words.

        Raises:
            UClusterTuneError: of a worker, as it is.
            TrialError: as `run_epoch` does.
        """
        assert self._executor is not None, "the workers were not started"
        references = self._executor.ask(function)
        try:
            with self._lost_nodes_told():
                return _collect(references, limit_s, what)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End all workers at once; returns when they are gone."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        actors = self._kill_actors(executor)
        executor.close()
        _wait_until_dead(executor, actors)

    def _kill_actors(self, executor: PrivateExecutor) -> list[Any]:
        """Kill what was started, and what a start that was given up still adds until it ends."""
        start, self._start = self._start, None
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while True:
            starts = start is not None and not start.done()
            actors = executor.begun()
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
            num_workers=resources.n_workers,
            cpus_per_worker=resources.cpus_per_worker,
            use_gpu=resources.gpus_per_worker > 0,
            gpus_per_worker=resources.gpus_per_worker or None,
            use_current_placement_group=True,
        )
        self._executor = executor
        environment = {
            "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(limit_s)),
            **START_VARIABLES,
            "OMP_NUM_THREADS": str(n_threads(resources)),
        }
        self._wait_for_start(lambda: executor.start(extra_env_vars=environment), limit_s)
        what = "the workers to tell their network interfaces"
        _collect(executor.ask(use_own_interface), limit_s, what)
        references = executor.make(HorovodWorker, resources, self._log_folder)
        _collect(references, limit_s, "the workers to find each other")

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

    @contextmanager
    def _lost_nodes_told(self, is_start: bool = False) -> Iterator[None]:
        """Raise NodeLostError in place of what the loss of a node looks like to the others."""
        try:
            yield
        except (WorkerLostError, StartError, WaitError) as error:
            # At a start, workers that miss each other is what a race in the rendezvous looks like.
            is_race = is_start and isinstance(error, ConnectionLostError)
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
            if isinstance(failure, ConnectionLostError):
                failure = _first_cause(references, waiting) or failure
            if failure is not None:
                raise failure
    return list(ray.get(references))


def _first_cause(references: list[Any], waiting: list[Any]) -> UClusterTuneError | None:
    """Return why one of the workers failed that had not answered yet."""
    deadline = time.monotonic() + _CAUSE_TIMEOUT_S
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            ranks = [references.index(reference) for reference in waiting]
            return NoAnswerError(f"the connection to workers {ranks} was lost")
        failure = _failure(ready[0], references.index(ready[0]))
        if failure is not None and not isinstance(failure, ConnectionLostError):
            return failure
    return None


def _failure(reference: Any, rank: int) -> UClusterTuneError | None:
    """Return why a worker that answered failed, None if it did not."""
    try:
        ray.get(reference)
    except ray.exceptions.RayError as error:
        return failure_of_call(error, rank)
    return None


def _wait_until_dead(executor: PrivateExecutor, actors: list[Any]) -> None:
    """Wait until no actor answers any more."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    for actor in actors:
        left = max(0.1, deadline - time.monotonic())
        try:
            ray.get(executor.ping(actor), timeout=left)
        except ray.exceptions.RayError:
            continue
        _LOGGER.warning("a worker still answers after it was killed")
