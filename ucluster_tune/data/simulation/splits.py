"""Jets of all classes, dealt out to train, validation and test and mixed, by seed alone."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.schema import SPLITS, jets_table
from ucluster_tune.data.simulation.blocks import JetBlock

DEFAULT_FRACTIONS: Final = (0.64, 0.16, 0.2)
"""Train, validation, test."""

_SPLIT_STREAM: Final = 100  # spawn keys apart from those of the blocks
_MIX_STREAM: Final = 101


def split_sizes(n_jets: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    """Return how many jets of a class are in train, validation and test.

    >>> split_sizes(3000, DEFAULT_FRACTIONS)
    (1920, 480, 600)
    """
    validation, test = (round(n_jets * fraction) for fraction in fractions[1:])
    return n_jets - validation - test, validation, test


def split_tables(
    blocks: Sequence[JetBlock], fractions: Sequence[float], seed: int
) -> Mapping[str, pa.Table]:
    """Split to jets: each class in the same shares, classes mixed within each split.

    Args:
        blocks: any number of each class, in order.
        fractions: of train, validation and test, with sum 1.
        seed: decides which jet goes where.
    """
    table = pa.concat_tables([_block_table(block) for block in blocks]).combine_chunks()
    class_of_jet = np.repeat(
        [CLASS_NAMES.index(block.class_name) for block in blocks],
        [len(block.mass_gev) for block in blocks],
    )
    members: dict[str, list[npt.NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for number in np.unique(class_of_jet):
        jets = _generator(seed, _SPLIT_STREAM, int(number)).permutation(
            np.flatnonzero(class_of_jet == number)
        )
        ends = np.cumsum(split_sizes(len(jets), fractions))
        for split, part in zip(SPLITS, np.split(jets, ends[:-1]), strict=True):
            members[split].append(part)
    return {
        split: table.take(
            _generator(seed, _MIX_STREAM, index).permutation(np.concatenate(members[split]))
        )
        for index, split in enumerate(SPLITS)
    }


def _generator(seed: int, stream: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def _block_table(block: JetBlock) -> pa.Table:
    return jets_table(
        [block.class_name] * len(block.mass_gev),
        block.mass_gev,
        block.n_constituents,
        block.features,
    )
