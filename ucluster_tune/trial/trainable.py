"""One trial as Ray Tune sees it: one step is one epoch.

A class, since Tune does not wait for function trainables that a scheduler stops, and their workers
leak. No TensorFlow here: the workers have it.

Workers that are lost are started again here. A failure that would only come again ends the trial
as a result, not as an error: an error makes Tune try again, whatever it was. So what Tune sees as
an error is the loss of this process or of a node, and that is worth another try. A lost node is
left to Tune even where this process lives: to wait here for another node would hold what the trial
has on the others, and two trials that wait so may wait for each other.
"""

import logging
import time
from typing import Any

from ray import tune

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import FailuresConfig, ResourcesConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.trial.failures import NodeLostError, kind_of
from ucluster_tune.trial.processes.workers import HorovodWorkers

FAILURE = "failure"  # of a result: why the trial ends with it
FAILURE_KIND = "failure_kind"  # beside it, as `trial.failures` names the kind
N_RETRIES = "n_retries"  # of the configuration
RETRIES = "retries"  # of a result: why workers were started again since the result before
RESTORED_EPOCH = "restored_epoch"  # of the first result after a start of workers
EARLIER = "earlier"  # beside it: records of epochs before it, which the driver may not know
_BACK_OFF_S = 5.0

_LOGGER = logging.getLogger(__name__)


class UClusterTrainable(tune.Trainable):
    """Trains one configuration with Horovod workers in the trial's own placement group.

    Tune's configuration of it holds `trial_id`, `trial_config` (of `TrialConfig`), `trial_folder`,
    `resources` (of `ResourcesConfig`), `objective` (of `ObjectiveConfig`), `failures` (of
    `FailuresConfig`) and, where the trial goes on, `n_retries`: how often it was tried again.
    """

    _workers: HorovodWorkers | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Take in the configuration; the workers are started by the first step."""
        self._trial_config = TrialConfig(**config["trial_config"])
        self._trial_folder = config["trial_folder"]
        self._resources = ResourcesConfig(**config["resources"])
        self._objective = ObjectiveConfig(**config["objective"])
        max_retries = FailuresConfig(**config["failures"]).max_retries
        self._max_retries = max_retries - config.get(N_RETRIES, 0)
        self._retries: list[str] = []
        self._n_told = 0

    def step(self) -> dict[str, Any]:
        """Return rank 0's record of an epoch: the next one, run on all workers.

        After workers were started it is the record of the epoch whose checkpoint they went on
        from: the process that was to pass it on may have been killed before it did.
        """
        while True:
            try:
                return self._record()
            except Exception as error:  # told as this trial's end
                self.cleanup()
                if isinstance(error, NodeLostError):
                    raise
                kind = kind_of(error)
                if not kind.is_retried or len(self._retries) >= self._max_retries:
                    return self._told({FAILURE: str(error), FAILURE_KIND: kind.name}, True)
                self._retries.append(str(error))
                _LOGGER.warning("retry %d: %s", len(self._retries), error)
                time.sleep(_BACK_OFF_S * len(self._retries))

    def _record(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        record: dict[str, Any] | None = None
        if self._workers is None:
            workers = HorovodWorkers(
                self._trial_config, self._trial_folder, self._resources, self._objective
            )
            workers.start()
            self._workers = workers
            restored = workers.restored()
            record = restored[-1] if restored else None
            extra = {
                RESTORED_EPOCH: record["epoch"] if record else 0,
                EARLIER: restored[:-1],
            }
        if record is None:
            record = self._workers.run_epoch()
        is_last = record["epoch"] >= self._trial_config.training.n_epochs
        return self._told({**record, **extra}, is_last)

    def _told(self, result: dict[str, Any], is_last: bool) -> dict[str, Any]:
        retries, self._n_told = self._retries[self._n_told :], len(self._retries)
        return {**result, RETRIES: retries, "done": is_last}

    def cleanup(self) -> None:
        """End the workers; none outlives its trial."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill()
