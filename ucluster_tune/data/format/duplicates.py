"""The same jet twice, in two files or two splits: told by what a jet is, not by where it lies.

A jet that is trained on and then tested on makes an accuracy too good without a word.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets

Keys = npt.NDArray[np.uint64]

_COLUMNS: Final = [FEATURE_NAMES.index(name) for name in ("eta_rel", "phi_rel", "ln_pt")]
# The published jets come with 30, 50, 100 and 150 constituents: the leading ones are the same.
_N_LEADING: Final = 16
_ODD: Final = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)


def jet_keys(
    mass_gev: FloatArray, first: IntArray, counts: IntArray, features: FloatArray
) -> Keys:
    """Return uint64 [jet], equal for the same jet and for no other: mass and leading constituents.

    Two of a million different jets have one key with a probability of 3e-8.

    Args:
        mass_gev: float32 [jet].
        first: int64 [jet]; row of each jet's leading constituent.
        counts: int64 [jet]; its constituents, in descending pt.
        features: float32 [row, feature].

    >>> mass, features = np.float32([80, 80, 91]), np.ones((6, 8), np.float32)
    >>> keys = jet_keys(mass, np.array([0, 2, 4]), np.array([2, 2, 2]), features)
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (True, False)
    """
    used = np.minimum(counts, _N_LEADING)
    ends = np.cumsum(used)
    place = np.arange(int(used.sum())) - np.repeat(ends - used, used)
    # Adding 0 makes one number of the two zeros.
    values = features[np.repeat(first, used) + place][:, _COLUMNS] + np.float32(0)
    words = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    mixed = _mixed(words @ _ODD[:3] + (place.astype(np.uint64) + np.uint64(1)) * _ODD[3])
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    mass = (mass_gev.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    return _mixed(sums[ends] - sums[ends - used] + mass * _ODD[0])


def packed_keys(jets: PackedJets) -> Keys:
    """Return the keys of packed jets, uint64 [jet]."""
    counts = jets.n_rows - (jets.n_padded > 0)
    return jet_keys(jets.mass_gev, jets.first_rows, counts, jets.features)


def _mixed(words: Keys) -> Keys:
    """Return words of which every bit depends on every bit (the end of splitmix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class JetCensus:
    """Knows the jets that came before, with 8 bytes each.

    >>> census = JetCensus()
    >>> census.are_new(np.array([7, 5, 7], np.uint64)).tolist()
    [True, True, False]
    >>> census.are_new(np.array([6, 5], np.uint64)).tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self._sorted: list[Keys] = []  # each more than twice as long as the next one

    @property
    def keys(self) -> Keys:
        """All keys, in no order."""
        return np.concatenate([np.zeros(0, np.uint64), *self._sorted])

    def are_new(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Take in some jets; return bool [jet], False for each one that came before."""
        is_new = np.zeros(len(keys), np.bool_)
        is_new[np.unique(keys, return_index=True)[1]] = True
        for known in self._sorted:
            found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            is_new &= known[found] != keys
        news = np.sort(keys[is_new])
        while self._sorted and len(self._sorted[-1]) <= 2 * len(news):
            news = np.sort(np.concatenate([self._sorted.pop(), news]))
        if len(news):
            self._sorted.append(news)
        return is_new


def in_two_splits(splits: Mapping[str, JetCensus]) -> Iterator[str]:
    """Yield which splits have jets in common, a sentence each."""
    names = list(splits)
    for index, name in enumerate(names):
        for other in names[:index]:
            own = splits[name].keys
            n_common = int(np.isin(own, splits[other].keys).sum())
            if n_common:
                yield f"{n_common} of {len(own)} {name} jets are {other} jets too"
