"""Files that pictures are drawn into, looked at before anything is computed."""

import os
from pathlib import Path

from ucluster_tune.errors import MachineError


def refuse_unwritable(path: Path) -> None:
    """Raise MachineError where no file can be made in the folder of `path`; leaves none."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise MachineError(
            f"{path}: cannot write the picture: {error.strerror or error}; choose another folder"
        ) from error
