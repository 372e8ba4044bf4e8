"""Where a search runs, who is told, and how many trials fit its nodes while they come and go.

Loads Ray only once a search joins or starts one: what fits no machine is refused at once.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ucluster_tune.cluster.connection import JoinedRay, RunningRay, joined_ray
from ucluster_tune.cluster.place import Place
from ucluster_tune.config.capacity import ClusterCapacity
from ucluster_tune.config.plan import (
    FittedStudy,
    Machine,
    fit_study,
    room_for_trials,
    wait_for_nodes,
)
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.allocation import Allocation
from ucluster_tune.search.reporting import WriteReport
from ucluster_tune.study.keeper import Viewer
from ucluster_tune.study.paths import StudiesFolder

if TYPE_CHECKING:
    from ucluster_tune.tracking.mlflow.tracked_study import DrawPictures

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 5.0


@dataclass(frozen=True)
class SearchSetting:
    """Where a search runs and who is told.

    Attributes:
        folder: of all studies.
        place: the Ray that trials run on.
        machine: cores and GPUs of this machine that may be used.
        observers: told of every event, to show the search.
        draw_pictures: draws a trial's best epoch.
        write_report: writes the report of a search that ended.
        say: shows one line of what is being done.
        allocation: for how long there are machines; None for all time.
    """

    folder: StudiesFolder
    place: Place
    machine: Machine
    observers: Sequence[Viewer]
    draw_pictures: "DrawPictures"
    write_report: WriteReport
    say: Callable[[str], None]
    allocation: Allocation | None = None


class SearchNodes:
    """The nodes that a search runs on; a context manager.

    It says where that is and why, and joins the Ray there: before anything of the study exists,
    so that a cluster that refuses leaves nothing behind.
    """

    def __init__(self, setting: SearchSetting) -> None:
        self._setting = setting
        self._joined: JoinedRay | None = None
        self._look: Callable[[], ClusterCapacity] = setting.machine.capacity
        self._stack = ExitStack()

    def __enter__(self) -> "SearchNodes":
        place, machine, say = self._setting.place, self._setting.machine, self._setting.say
        if place.address is None:
            say(
                f"Running on a Ray of its own on this machine: {machine.n_cpus} CPUs,"
                f" {machine.n_gpus} GPUs ({place.why})"
            )
            return self
        with ExitStack() as stack:
            self._joined = stack.enter_context(joined_ray(place.address))
            say(f"Running on the Ray at {place.address}: {self._joined.in_words()} ({place.why})")
            from ucluster_tune.cluster.capacity import capacity_watch  # loads Ray

            self._look = capacity_watch()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def fit(self, config: StudyConfig) -> FittedStudy:
        """Return a study as it runs on these nodes.

        Raises:
            MachineError: not even one trial can ever be placed.
        """
        return fit_study(config, self._look())

    def check(self, config: StudyConfig, made_in: str | None = None) -> None:
        """Check what a study needs on the nodes of a Ray that was joined; this machine needs none.

        Args:
            config: as it runs there.
            made_in: path or URI of the folder that its data set is yet to be made in.

        Raises:
            MachineError: a node is not fit for the search.
        """
        if self._joined is None:
            return
        from ucluster_tune.cluster.fitness.checks import (  # loads Ray
            CheckRequest,
            quick_check,
        )

        studies = self._setting.folder.place
        if made_in is None:
            quick_check(CheckRequest.of(config, studies))
        else:
            quick_check(CheckRequest(studies, resources=config.resources, datasets=made_in))

    def room(self, study: FittedStudy) -> "Room":
        """Return what tells how many trials of a study may run at a time."""
        return Room(study, self._look, self._setting.say)

    @contextmanager
    def running_ray(self) -> Iterator[RunningRay]:
        """Give the Ray that was joined, or one of its own for as long as the block lasts."""
        if self._joined is not None:
            yield self._joined
            return
        from ucluster_tune.cluster.embedded import embedded_ray  # loads Ray

        machine = self._setting.machine
        with embedded_ray(machine.n_cpus, machine.n_gpus) as ray:
            yield ray


class Room:
    """Tells how many trials may run at a time, and looks at the nodes again now and then.

    Args:
        study: as it runs on the nodes.
        look: tells what the nodes hold; takes milliseconds.
        say: shows one line.
    """

    def __init__(
        self, study: FittedStudy, look: Callable[[], ClusterCapacity], say: Callable[[str], None]
    ) -> None:
        self._config, self._look, self._say = study.config, look, say
        self._n_trials = study.n_at_a_time
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        if study.workers_why:
            n_workers = study.config.resources.n_workers
            say(f"Workers of a trial: {n_workers} ({study.workers_why})")
        if study.fitted:
            say("No GPU here: trials train on the CPU, as resources.cpu_fallback allows")
        wait = wait_for_nodes(study.config, look())
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
        n_trials = room_for_trials(self._config, nodes)
        if n_trials != self._n_trials:
            self._say(
                f"Trials at a time: {n_trials} in place of {self._n_trials}, {nodes.in_words()}"
            )
            self._n_trials = n_trials
