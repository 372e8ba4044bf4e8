"""One trial as Ray Tune sees it: one step is one epoch.

A class, since Tune does not wait for function trainables that a scheduler stops, and their workers
leak. No TensorFlow here: the workers have it.

Workers that are lost are started again here. A failure that would only come again ends the trial
as a result, not as an error: an error makes Tune try again, whatever it was. So what Tune sees as
an error is the loss of this process or of a node, and that is worth another try. A lost node is
left to Tune even where this process lives: to wait here for another node would hold what the trial
has on the others, and two trials that wait so may wait for each other.

This process and its workers outlive a trial that came to its end or was stopped: Tune gives them
the next one (`reuse_actors`). A failure ends them, and so does the end of a search.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

from ray import tune

from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.failures import NodeLostError, TrialFailure, kind_of
from ucluster_tune.trial.processes.workers import HorovodWorkers
from ucluster_tune.trial.training_task import TrainingTask

EPOCH = "epoch_record"  # of a result: the record of the epoch that ended, None with a failure
NOTE = "note"  # of a result: what else there is to tell
N_RETRIES = "n_retries"  # of the configuration
_BACK_OFF_S = 5.0

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResultNote:
    """What a result tells beside its epoch.

    Attributes:
        retries: why workers were started again since the result before.
        restored_epoch: the epoch whose checkpoint workers went on from, 0 for none; None where
            they did not begin with this result.
        earlier: records of epochs before it, which the driver may not know.
        failure: why the trial ends with this result, without an epoch.
    """

    retries: tuple[str, ...] = ()
    restored_epoch: int | None = None
    earlier: tuple[EpochRecord, ...] = ()
    failure: TrialFailure | None = None


class UClusterTrainable(tune.Trainable):
    """Trains one configuration after another with Horovod workers in its own placement group.

    Tune's configuration of it holds `trial_id`, `task` (a `TrainingTask`), `resources` (a
    `ResourcesConfig`), `max_retries` and, where the trial goes on, `n_retries`: how often it was
    tried again. The driver builds all of it once, and it is sent as it is.

    Attributes:
        most_growth_mib: of a worker since its first training ended; after more come fresh ones.
    """

    most_growth_mib = 512.0
    _workers: HorovodWorkers | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Take in the first trial."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take in a trial, which the workers begin in its first step; return that this is done.

        Does nothing that can fail: Tune would take that for the new trial's failure.
        """
        self._task: TrainingTask = new_config["task"]
        self._resources: ResourcesConfig = new_config["resources"]
        self._max_retries = new_config["max_retries"] - new_config.get(N_RETRIES, 0)
        self._retries: list[str] = []
        self._n_told = 0
        self._has_begun = False
        return True

    def step(self) -> dict[str, Any]:
        """Return rank 0's record of an epoch, the next one, run on all workers, and a note.

        In the first step, and after workers were started again, it is the record of the epoch
        whose checkpoint they went on from, if there is one: the process that was to pass it on
        may have been killed before it did.
        """
        while True:
            try:
                return self._epoch()
            except Exception as error:  # told as this trial's end
                self.cleanup()
                if isinstance(error, NodeLostError):
                    raise
                kind = kind_of(error)
                if not kind.is_retried or len(self._retries) >= self._max_retries:
                    return self._result(None, failure=TrialFailure(str(error), kind))
                self._retries.append(str(error))
                _LOGGER.warning("retry %d: %s", len(self._retries), error)
                time.sleep(_BACK_OFF_S * len(self._retries))

    def _epoch(self) -> dict[str, Any]:
        if self._workers is not None and self._has_begun:
            return self._result(self._workers.run_epoch())
        workers = self._free_workers()
        restored = workers.begin(self._task)
        self._has_begun = True
        if not restored:
            return self._result(workers.run_epoch(), restored_epoch=0)
        *earlier, last = restored
        return self._result(last, restored_epoch=last.epoch, earlier=tuple(earlier))

    def _free_workers(self) -> HorovodWorkers:
        """Return workers without a training: those of the trial before, else fresh ones.

        That they are lost between two trials, or have grown, is no failure of the new one.
        """
        if self._workers is not None:
            try:
                self._workers.end()
            except NodeLostError:
                raise
            except UClusterTuneError as error:
                _LOGGER.warning("fresh workers, since those of the trial before failed: %s", error)
            else:
                if self._workers.grown_mib <= self.most_growth_mib:
                    return self._workers
                _LOGGER.info("fresh workers, after %.0f MiB more", self._workers.grown_mib)
            self.cleanup()
        self._workers = HorovodWorkers(self._resources, self._task.folder)
        self._workers.start()
        return self._workers

    def _result(self, epoch: EpochRecord | None, **told: Any) -> dict[str, Any]:
        retries, self._n_told = self._retries[self._n_told :], len(self._retries)
        is_last = epoch is None or epoch.epoch >= self._task.config.training.n_epochs
        return {EPOCH: epoch, NOTE: ResultNote(tuple(retries), **told), "done": is_last}

    def cleanup(self) -> None:
        """End the workers; none outlives this process, or a failure."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill()
