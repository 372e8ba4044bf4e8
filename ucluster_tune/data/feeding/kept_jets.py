"""Jets in memory with their first neighbours, which outlive the training they were read for."""

from collections.abc import Sequence
from typing import Protocol

from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.data.reading.sharding import Piece


class NeighborSearch(Protocol):
    """The search for first neighbours: adds them to jets, the nearest first.

    Attributes:
        n_neighbors: k.
        padding_distance: added for each end that is padding.
    """

    n_neighbors: int
    padding_distance: float

    def __call__(self, jets: PackedJets, at_least: int = 0) -> PackedJets:
        """Return `jets` with k first neighbours of each row, or with more where asked for."""


class KeptJets:
    """The jets of one data set that one process has in memory, for whoever asks for them next.

    Those of another data set, or of another selection of it, take their place.

    Attributes:
        most_neighbors: k up to which first neighbours are searched for at once.
    """

    def __init__(self) -> None:
        self.most_neighbors = 0
        self._of: object = None
        self._jets: dict[object, PackedJets] = {}

    def get(
        self, dataset: JetDataset, split: str, pieces: Sequence[Piece], search: NeighborSearch
    ) -> PackedJets:
        """Return the jets of some pieces, with at least the neighbours that `search` finds.

        Of more neighbours the first ones are those of a search for fewer: see `PackedJets.batch`.

        Raises:
            DataError: they are not in memory and cannot be read.
        """
        of = (dataset.config, dataset.manifest.dataset_checksum, search.padding_distance)
        if of != self._of:
            self._of, self._jets = of, {}
        key = (split, *pieces)
        jets = self._jets.get(key)
        if jets is None or jets.n_first_neighbors < search.n_neighbors:
            jets = dataset.read_pieces(split, pieces) if jets is None else jets
            jets = search(jets, self.most_neighbors)
            self._jets[key] = jets
        return jets
