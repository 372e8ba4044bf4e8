"""Rounds features to fewer significant bits, so that they take less space on disk."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import FEATURE_NAMES

FLOAT32_BITS: Final = 24
"""Significant bits of a float32."""

_COS_THETA_REL: Final = FEATURE_NAMES.index("cos_theta_rel")


def round_features(
    features: npt.NDArray[np.float32], significant_bits: int
) -> npt.NDArray[np.float32]:
    """Features float32 [constituent, feature], each rounded to so many significant bits.

    Of cos_theta_rel, which is close to 1, the distance to 1 is rounded instead.
    """
    rounded = round_significand(features, significant_bits)
    distance = np.float32(1.0) - features[:, _COS_THETA_REL]
    rounded[:, _COS_THETA_REL] = np.float32(1.0) - round_significand(distance, significant_bits)
    return rounded


def round_significand(
    values: npt.NDArray[np.float32], significant_bits: int
) -> npt.NDArray[np.float32]:
    """Finite float32 values, rounded to the nearest with so many significant bits in [2, 24].

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
