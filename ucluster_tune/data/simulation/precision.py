"""Rounds features to fewer significant bits, so that they take less space on disk."""

from typing import Final

import numpy as np
import numpy.typing as npt

FLOAT32_BITS: Final = 24
"""Significant bits of a float32."""


def round_significand(
    values: npt.NDArray[np.float32], significant_bits: int
) -> npt.NDArray[np.float32]:
    """Return finite float32 values, rounded to so many significant bits, from 2 to 24.

    >>> round_significand(np.array([3.14159265], dtype=np.float32), 8).tolist()
    [3.140625]
    """
    dropped = FLOAT32_BITS - significant_bits
    if dropped == 0:
        return values.copy()
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32(1 << (dropped - 1))
    mask = np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    return ((bits + half) & mask).view(np.float32)
