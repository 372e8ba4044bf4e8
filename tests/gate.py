"""A gate between two epochs: training waits there until a test opens it.

So a test can kill, stop or look "in the middle" of a training of any speed. The processes of a
search are told of the gate by their environment; a folder is the gate itself.
"""

import os
import time
from pathlib import Path

_FOLDER = "TESTS_GATE"
_ALL = "all"
_POLL_S = 0.01


class Gate:
    """Holds trainings after an epoch, in whatever processes they run.

    Args:
        folder: of the gate, which need not exist; of one machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_environment(cls) -> "Gate":
        """The gate that the process which started this one has set up."""
        return cls(Path(os.environ[_FOLDER]))

    @property
    def variables(self) -> dict[str, str]:
        """What the processes need in their environment to know of the gate."""
        tests = Path(__file__).parent
        path = os.pathsep.join([str(tests / "held_program"), str(tests.parent)])
        return {"PYTHONPATH": path, _FOLDER: str(self._folder)}

    def hold_after(self, epoch: int, trial: str = _ALL) -> None:
        """Lets no epoch after this one begin, of all trials or of one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{trial}"
        temporary.write_text(str(epoch), encoding="ascii")
        temporary.replace(self._folder / trial)

    def open(self) -> None:
        """Lets all trainings go on."""
        for path in self._folder.iterdir():
            path.unlink()

    def pass_through(self, trial: str, epoch: int) -> None:
        """Returns once a trial that has done so many epochs may begin the next one."""
        while any(epoch >= held for held in map(self._held_after, (_ALL, trial))):
            time.sleep(_POLL_S)

    def _held_after(self, trial: str) -> float:
        try:
            return int((self._folder / trial).read_text(encoding="ascii"))
        except FileNotFoundError:
            return float("inf")
