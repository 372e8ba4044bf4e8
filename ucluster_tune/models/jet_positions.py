"""Where a jet stands, for messages: its file, its number there, and its number among all.

Reads masses and classes once more where jets were selected, so that it is called for errors alone.
"""

import numpy as np

from ucluster_tune.data.hls4ml.stream import Hls4mlJets
from ucluster_tune.data.reading.jet_stream import Chunk, JetSource, ParquetJets
from ucluster_tune.data.reading.selection import SelectedJets


def jet_place(source: JetSource, chunk: Chunk, position: int) -> str:
    """Return where one of the jets of a chunk stands, such as `jets.h5: jet 7, counted from 0`.

    Args:
        source: of the jets, selected or not.
        chunk: of its blocks.
        position: of the jet among those that the source gives of the chunk.
    """
    block, row = _block_and_row(source, chunk, position)
    whole = source.source if isinstance(source, SelectedJets) else source
    n_before = sum(whole.block_sizes[:block])
    file, first_row = _file_of_block(whole, block)
    place = f"{file}: jet {first_row + row}, counted from 0"
    return place if first_row == n_before else f"{place} ({n_before + row} of all)"


def _block_and_row(source: JetSource, chunk: Chunk, position: int) -> tuple[int, int]:
    """Return a jet's block, and its row there before any selection."""
    for block in range(chunk.first, chunk.stop):
        rows = np.arange(source.block_sizes[block])
        if isinstance(source, SelectedJets):
            labels = source.source.read_block_labels(block)
            rows = np.flatnonzero(source.selection.passes(*labels))
        if position < len(rows):
            return block, int(rows[position])
        position -= len(rows)
    raise AssertionError("a position is that of a jet of the chunk")


def _file_of_block(source: JetSource, block: int) -> tuple[str, int]:
    """Return the file that a block is of, and the number of its first jet in that file."""
    if isinstance(source, Hls4mlJets):
        file, start, _ = source.rows[block]
        return file.label, start
    if isinstance(source, ParquetJets):
        jet_file = source.row_groups[block][0]
        sizes = zip(source.row_groups[:block], source.block_sizes, strict=False)
        return str(jet_file), sum(size for (other, _), size in sizes if other == jet_file)
    return source.description, sum(source.block_sizes[:block])
