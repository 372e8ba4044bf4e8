"""Yardsticks measured beside a search, in the time that its first workers take to start.

In a Ray task that takes no CPU from the trials. It never delays or fails the search: what is not
there in time is measured by the study's next driver, or by `ucluster-tune baselines`.
"""

import logging
import os
from concurrent.futures import Future
from typing import Any, Final

import ray

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.errors import TrialError, UClusterTuneError
from ucluster_tune.search.listener import Say
from ucluster_tune.storage.patience import begin, is_done
from ucluster_tune.study.events import YardsticksMeasured
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.training.yardstick_measures import Clustered, measure_yardsticks
from ucluster_tune.training.yardsticks import Yardsticks

_LOGGER = logging.getLogger(__name__)
TIMEOUT_S: Final = 600.0
_LAST_WAIT_S: Final = 5.0  # at the end of a search that was shorter than the measure
_LESS_URGENT: Final = 10  # than workers, by which searches are measured


class YardsticksBeside:
    """Measures the yardsticks of a study that lacks them.

    Args:
        config: of the study, as it runs here.
        keeper: of its record.
        say: shows one line.
    """

    def __init__(self, config: StudyConfig, keeper: RecordKeeper, say: Say) -> None:
        self._config, self._keeper, self._say = config, keeper, say
        self._task: Any = None
        self._future: Future[None] | None = None

    def start(self) -> None:
        """Begin to measure, where the record has none."""
        if self._keeper.record.yardsticks is None:
            self._task = begin_measure(self._config)
            self._future = begin(self._take_in, "yardsticks")

    def _take_in(self) -> None:
        try:
            found, _ = answer_of(self._task)
            self._keeper.note(YardsticksMeasured(yardsticks=found))
            self._say(f"On the validation jets: {found.in_words('validation')}")
        except Exception:  # of Ray or the jets: of no consequence to the trials
            _LOGGER.warning("no yardsticks", exc_info=True)

    def close(self) -> None:
        """Give up what is not there soon."""
        if self._future is not None and not is_done(self._future, _LAST_WAIT_S):
            try:
                ray.cancel(self._task, force=True)
            except Exception:  # Ray is gone, and the task with it
                _LOGGER.warning("the measure of yardsticks was not ended", exc_info=True)


def begin_measure(config: StudyConfig) -> Any:
    """Return the task that measures the yardsticks of a study's jets."""
    return _measure.remote(config)


def answer_of(task: Any, timeout_s: float = TIMEOUT_S) -> tuple[Yardsticks, list[Clustered]]:
    """Return what was measured, and the clusters behind it.

    Raises:
        UClusterTuneError: of the task, as it is; TrialError where it died or took too long.
    """
    try:
        found: tuple[Yardsticks, list[Clustered]] = ray.get(task, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UClusterTuneError):
            raise error.cause from None
        raise TrialError(f"the measure of yardsticks failed:\n{error}") from None
    except ray.exceptions.RayError as error:
        ray.cancel(task, force=True)
        raise TrialError(f"the measure of yardsticks gave no answer: {error}") from None
    return found


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)  # its process, less urgent, serves no other
def _measure(config: StudyConfig) -> tuple[Yardsticks, list[Clustered]]:
    os.nice(_LESS_URGENT)
    return measure_yardsticks(
        open_dataset(config.data),
        config.model.n_clusters,
        config.training.evaluation_batch_size,
        config.training.seed,
    )
