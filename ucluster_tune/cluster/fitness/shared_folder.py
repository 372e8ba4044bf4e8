"""Whether a folder is the same from every node: a token goes there, and every node's answer back.

A path that exists everywhere may still be another disk on each machine, so nothing less tells.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ucluster_tune.cluster.nodes import Questions
from ucluster_tune.errors import DataError
from ucluster_tune.storage.locations import locate
from ucluster_tune.storage.patience import wait_until

_NAME = ".cluster-check-"
_APPEARS_WITHIN_S = 2.0
_ONE_FOR_ALL = (
    "a search on several nodes needs one folder that all see at the same path (NFS or the like),"
    " or s3://BUCKET/FOLDER: name it with"
)


@dataclass(frozen=True)
class Purpose:
    """What is kept in a folder that all nodes are to see.

    Attributes:
        check: what the check of it is called.
        remedy: what to do where it is not the same for all.
    """

    check: str
    remedy: str


STUDIES = Purpose("studies folder", f"{_ONE_FOR_ALL} --studies-dir or UCLUSTER_TUNE_STUDIES")
DATASETS = Purpose("folder of data sets", f"{_ONE_FOR_ALL} UCLUSTER_TUNE_DATASETS")


class SharedToken:
    """A token in a folder.

    Args:
        place: path or URI of the folder.
        purpose: what is kept there.

    Attributes:
        fault: why this process cannot write it, None where it could.
    """

    def __init__(self, place: str, purpose: Purpose = STUDIES) -> None:
        self.place, self.purpose = place, purpose
        self.token = uuid.uuid4().hex
        self.folder = locate(place) / f"{_NAME}{self.token[:12]}"
        self.fault: str | None = None

    def questions(self, data: str | None = None) -> Questions:
        """Return what the nodes are asked."""
        return Questions(None if self.fault else self.folder.text, self.token, data)

    def is_answered_by(self, node_id: str) -> bool:
        """Return whether a node's answer, which it says it has written, is seen from here."""

        def is_seen() -> bool:
            with suppress(DataError):
                return (self.folder / node_id).read_bytes() == self.token.encode()
            return False

        return wait_until(is_seen, _APPEARS_WITHIN_S)  # NFS may show it a moment later

    def write(self) -> None:
        """Write the token, or note why not."""
        try:
            (self.folder / "driver").write_bytes(self.token.encode())
        except DataError as error:
            self.fault = str(error)
        except OSError as error:
            self.fault = str(error.strerror or error)

    def take_away(self) -> None:
        """Delete the token and all answers."""
        if self.folder.is_local:
            shutil.rmtree(self.folder.local_path, ignore_errors=True)
            return
        with suppress(DataError):
            self.folder.delete()


@contextmanager
def shared_token(place: str, purpose: Purpose = STUDIES) -> Iterator[SharedToken]:
    """Give a token in a folder; it is gone after the block, with all that was made for it."""
    shared = SharedToken(place, purpose)
    made: list[Path] = []
    if shared.folder.is_local:
        folder = shared.folder.local_path.parent
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    shared.write()
    try:
        yield shared
    finally:
        shared.take_away()
        for path in made:  # the lowest first
            with suppress(OSError):  # somebody else uses it by now
                path.rmdir()
