"""Whether a folder is the same from every node: a token goes there, and every node's answer back.

A path that exists everywhere may still be another disk on each machine, so nothing less tells.
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ucluster_tune.cluster.nodes import Questions

_NAME = ".cluster-check-"
_APPEARS_WITHIN_S = 2.0


class SharedToken:
    """A token in a folder.

    Attributes:
        fault: why this process cannot write it, None where it could.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.token = uuid.uuid4().hex
        self.folder = str(Path(place) / f"{_NAME}{self.token[:12]}")
        self.fault: str | None = None

    def questions(self, data: str | None) -> Questions:
        """Returns what the nodes are asked."""
        return Questions(None if self.fault else self.folder, self.token, data)

    def is_answered_by(self, node_id: str) -> bool:
        """Whether the answer of a node, which it says it has written, is seen from here."""
        deadline = time.monotonic() + _APPEARS_WITHIN_S  # NFS may show it a moment later
        while True:
            with suppress(OSError):
                if Path(self.folder, node_id).read_text(encoding="ascii") == self.token:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def write(self) -> list[Path]:
        """Writes the token, or notes why not; returns the folders made for it, the lowest last."""
        folder = Path(self.folder)
        made = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
        try:
            folder.mkdir(parents=True)
            Path(folder, "driver").write_text(self.token, encoding="ascii")
        except OSError as error:
            self.fault = str(error.strerror or error)
        return made


@contextmanager
def shared_token(place: str) -> Iterator[SharedToken]:
    """Give a token in `place`, a path; it is gone after the block, with what was made for it."""
    shared = SharedToken(place)
    made = shared.write()
    try:
        yield shared
    finally:
        shutil.rmtree(shared.folder, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):  # somebody else uses it by now
                folder.rmdir()
