"""What libraries print from C++, past Python's own streams."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent(descriptor: int) -> Iterator[None]:
    """Send to nowhere what this process prints to a descriptor while the block runs.

    Args:
        descriptor: 1 for standard output, 2 for standard error.
    """
    saved = os.dup(descriptor)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
            os.dup2(nowhere.fileno(), descriptor)
            yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
