"""The jets of pieces of row groups one after the other, patient with a storage that is away."""

from collections.abc import Iterator, Sequence
from typing import Final

from ucluster_tune.data.feeding.read_ahead import Progress
from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.data.reading.row_groups import FileMetadata
from ucluster_tune.data.reading.sharding import Piece
from ucluster_tune.errors import UnreachableError
from ucluster_tune.storage.patience import Patience

_PATIENCE_S: Final = 300.0  # an outage of some minutes must not end an epoch of hours
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


def stream_pieces(
    dataset: JetDataset,
    split: str,
    pieces: Sequence[Piece],
    progress: Progress,
    known: FileMetadata,
) -> Iterator[PackedJets]:
    """Yield the jets of all pieces in order, some thousand at a time.

    A storage that does not answer is asked again for what is missing, for some minutes.

    Args:
        dataset: of which they are.
        split: likewise.
        pieces: in any order.
        progress: is shown each block, and hears of each attempt.
        known: what is known of the files; takes what is learnt.

    Raises:
        UnreachableError: the storage stays away.
        DataError: a value is not finite, or a file changed since the data set was opened.
    """
    for piece in pieces:
        left: Piece | None = piece
        patience = Patience(_PATIENCE_S, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, progress.pause)
        while left is not None:
            try:
                for jets in dataset.blocks_of(split, [left], known):
                    left = Piece(left.row_group, left.start + len(jets), left.stop)
                    patience.renew()
                    progress.go_on()
                    yield jets
                left = None
            except UnreachableError as error:
                if not patience.allows_another_try(error):
                    raise UnreachableError(
                        f"{error}; asked again for {_PATIENCE_S:g} s: carry on once it answers"
                    ) from error
