"""How many trials of a search run at a time, while nodes come and go."""

import logging
import time
from collections.abc import Callable
from typing import Final

from ucluster_tune.config.capacity import ClusterCapacity
from ucluster_tune.config.plan import (
    concurrent_trials,
    on_these_nodes,
    room_for_trials,
    wait_for_nodes,
)
from ucluster_tune.config.study import StudyConfig

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 5.0


class Room:
    """Tells how many trials may run at a time, and looks at the nodes again now and then.

    Args:
        config: of the study.
        look: tells what the nodes hold; takes milliseconds.
        say: shows one line.

    Attributes:
        config: of the study as it runs here, on CPUs where there is no GPU and that will do.

    Raises:
        MachineError: not even one trial fits.
    """

    def __init__(
        self,
        config: StudyConfig,
        look: Callable[[], ClusterCapacity],
        say: Callable[[str], None],
    ) -> None:
        nodes = look()
        self.config = on_these_nodes(config, nodes)
        self._look, self._say = look, say
        self._n_trials = concurrent_trials(config, nodes)
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        if self.config is not config:
            say("No GPU here: trials train on the CPU, as resources.cpu_fallback allows")
        wait = wait_for_nodes(config, nodes)
        if wait:
            say(wait)

    def __call__(self) -> int:
        """Return how many; say so where that has changed."""
        if time.monotonic() >= self._look_at:
            self._look_again()
            self._look_at = time.monotonic() + _LOOK_EVERY_S
        return self._n_trials

    def _look_again(self) -> None:
        try:
            nodes = self._look()
        except Exception:  # what Ray raises where its head is busy is of no one kind
            _LOGGER.warning("the nodes could not be looked at", exc_info=True)
            return
        n_trials = room_for_trials(self.config, nodes)
        if n_trials != self._n_trials:
            self._say(f"Trials at a time: {n_trials} in place of {self._n_trials}, {nodes.told()}")
            self._n_trials = n_trials
