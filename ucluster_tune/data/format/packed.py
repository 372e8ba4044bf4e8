"""Jets packed row by row, without repeating their padding: the network's input.

All padded constituents of a jet are identical in every layer, so one row stands for them all and
carries their number as its weight. About 54 rows a jet take the place of 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import MAX_CONSTITUENTS

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class PackedBatch(NamedTuple):
    """All that a network reads of some jets, and no target.

    Rows are first a jet's real constituents, then one for its padding, if it has any. Holds NumPy
    arrays here and tensors inside the network.

    Attributes:
        features: float32 [row, feature].
        weights: float32 [row]; 1 for a real constituent, else the number of padded ones.
        jet: int32 [row]; index of the jet in the batch, ascending.
        first_neighbors: int32 [row, neighbor]; rows nearest in (eta_rel, phi_rel).
        dense_rows: int32 [jet, slot]; the rows of each jet, -1 where it has fewer.
        dense_columns: int32 [jet, candidate]; as `dense_rows`, the padded row repeated as often
            as it can be a neighbour, that is min(padded constituents, n_neighbors) times.
        starts: int32 [jet + 1]; the first row of each jet, and after the last one the number of
            rows.
        n_padded: int32 [jet]; constituents that the jet's last row stands for, 0 if none.
    """

    features: Any
    weights: Any
    jet: Any
    first_neighbors: Any
    dense_rows: Any
    dense_columns: Any
    starts: Any
    n_padded: Any


@dataclass(frozen=True)
class PackedJets:
    """A set of jets in memory.

    Attributes:
        features: float32 [row, feature].
        n_rows: int64 [jet]; rows of each jet, in order.
        n_padded: int64 [jet]; constituents that the jet's last row stands for, 0 if none.
        mass_gev: float32 [jet].
        jet_class: int64 [jet]; index into the data set's class names.
        first_neighbors: int16 [row, neighbor] of rows counted from the jet's first one, or None
            before they were searched for; the nearest first.
    """

    features: FloatArray
    n_rows: IntArray
    n_padded: IntArray
    mass_gev: FloatArray
    jet_class: IntArray
    first_neighbors: npt.NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.n_rows)

    @cached_property
    def first_rows(self) -> IntArray:
        """The first row of each jet, int64 [jet]."""
        return np.cumsum(self.n_rows) - self.n_rows

    @property
    def n_first_neighbors(self) -> int:
        """How many first neighbours each row has."""
        return 0 if self.first_neighbors is None else self.first_neighbors.shape[1]

    def take(self, jets: IntArray) -> "PackedJets":
        """Return the chosen jets, in that order."""
        n_rows = self.n_rows[jets]
        starts = np.cumsum(n_rows) - n_rows
        rows = np.arange(n_rows.sum()) + np.repeat(self.first_rows[jets] - starts, n_rows)
        return PackedJets(
            features=self.features[rows],
            n_rows=n_rows,
            n_padded=self.n_padded[jets],
            mass_gev=self.mass_gev[jets],
            jet_class=self.jet_class[jets],
            first_neighbors=None if self.first_neighbors is None else self.first_neighbors[rows],
        )

    def batch(self, jets: IntArray, n_neighbors: int) -> PackedBatch:
        """Return the chosen jets as the network reads them.

        Args:
            jets: int64 [jet]; which ones, in which order.
            n_neighbors: k of the neighbour searches; of more first neighbours the nearest are
                taken.
        """
        n_rows, n_padded = self.n_rows[jets], self.n_padded[jets]
        starts = np.cumsum(n_rows) - n_rows
        jet = np.repeat(np.arange(len(jets), dtype=np.int32), n_rows)
        rows = np.arange(len(jet)) + (self.first_rows[jets] - starts)[jet]

        weights = np.ones(len(rows), np.float32)
        padded = n_padded > 0
        last_rows = starts + n_rows - 1
        weights[last_rows[padded]] = n_padded[padded]

        slots = np.arange(n_rows.max(initial=1))
        dense_rows = np.where(slots < n_rows[:, None], starts[:, None] + slots, -1)
        repeats = np.arange(1, n_neighbors)
        repeated = np.where(repeats < n_padded[:, None], last_rows[:, None], -1)
        first_neighbors = (
            self.first_neighbors[rows, :n_neighbors] + starts[jet][:, None]
            if self.first_neighbors is not None
            else np.zeros((len(rows), n_neighbors))
        )
        return PackedBatch(
            features=self.features[rows],
            weights=weights,
            jet=jet,
            first_neighbors=first_neighbors.astype(np.int32),
            dense_rows=dense_rows.astype(np.int32),
            dense_columns=np.concatenate([dense_rows, repeated], axis=1).astype(np.int32),
            starts=np.append(starts, len(rows)).astype(np.int32),
            n_padded=n_padded.astype(np.int32),
        )


def concatenate(parts: Sequence[PackedJets]) -> PackedJets:
    """Return the jets of one or more parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    neighbors = [part.first_neighbors for part in parts if part.first_neighbors is not None]
    return PackedJets(
        features=np.concatenate([part.features for part in parts]),
        n_rows=np.concatenate([part.n_rows for part in parts]),
        n_padded=np.concatenate([part.n_padded for part in parts]),
        mass_gev=np.concatenate([part.mass_gev for part in parts]),
        jet_class=np.concatenate([part.jet_class for part in parts]),
        first_neighbors=np.concatenate(neighbors) if len(neighbors) == len(parts) else None,
    )


def pack_lists(
    features: FloatArray, n_real: IntArray, mass_gev: FloatArray, jet_class: IntArray
) -> PackedJets:
    """Return jets given as the real constituents of all of them, one after the other.

    Args:
        features: float32 [constituent of any jet, feature].
        n_real: int64 [jet]; constituents of each jet, at most MAX_CONSTITUENTS.
        mass_gev: float32 [jet].
        jet_class: int64 [jet].
    """
    n_real = n_real.astype(np.int64)
    n_padded = MAX_CONSTITUENTS - n_real
    n_rows = n_real + (n_padded > 0)
    starts = np.cumsum(n_rows) - n_rows
    packed = np.zeros((int(n_rows.sum()), features.shape[1]), np.float32)
    shift = starts - (np.cumsum(n_real) - n_real)
    packed[np.arange(len(features)) + np.repeat(shift, n_real)] = features
    return PackedJets(
        features=packed,
        n_rows=n_rows,
        n_padded=n_padded,
        mass_gev=mass_gev.astype(np.float32),
        jet_class=jet_class.astype(np.int64),
    )
