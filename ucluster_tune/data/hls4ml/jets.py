"""Jets from an HLS4ML HDF5 file, block by block, with the features that the network reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.bounds import FEATURE_BOUNDS, MASS_BOUNDS_GEV, mass_fault
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES, MAX_CONSTITUENTS
from ucluster_tune.data.hls4ml.layout import (
    CONSTITUENTS,
    FEATURE_COLUMNS,
    JETS,
    MASS_COLUMN,
    PT_COLUMN,
    Layout,
    find_layout,
    opened,
)
from ucluster_tune.errors import DataError

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.floating[Any]]

NO_CLASS: Final = -1
"""Of a jet without truth, or whose truth is none of the five classes."""

_PT: Final = FEATURE_COLUMNS.index(PT_COLUMN)
_LOGARITHMS: Final = tuple(
    index for index, name in enumerate(FEATURE_NAMES) if name.startswith("ln_")
)
_LOW: Final = np.array([FEATURE_BOUNDS[name].low for name in FEATURE_NAMES], np.float32)
_HIGH: Final = np.array([FEATURE_BOUNDS[name].high for name in FEATURE_NAMES], np.float32)


@dataclass(frozen=True)
class JetBlock:
    """Neighbouring jets of a file, as they stand in it.

    Attributes:
        start: number of the first one in the file.
        mass_gev: float32 [jet]; NaN where the file does not tell it.
        class_index: int8 [jet] into CLASS_NAMES, or NO_CLASS.
        columns: float [jet, constituent, column], those of FEATURE_COLUMNS.
    """

    start: int
    mass_gev: npt.NDArray[np.float32]
    class_index: npt.NDArray[np.int8]
    columns: Numbers

    def __len__(self) -> int:
        return len(self.mass_gev)

    def parts(self, n_jets: int = 2048) -> Iterator["JetBlock"]:
        """Yield the same jets in blocks of at most `n_jets`, of which copies take little room."""
        for first in range(0, len(self), n_jets):
            piece = slice(first, first + n_jets)
            yield JetBlock(
                self.start + first,
                self.mass_gev[piece],
                self.class_index[piece],
                self.columns[piece],
            )


def check_file(path: Path, label: str) -> Layout:
    """Return the layout of a file; `label` names it in errors.

    Raises:
        DataError: it is damaged, or no HLS4ML file.
    """
    with opened(path, label) as file:
        return find_layout(file, label)


def read_blocks(path: Path, label: str) -> Iterator[JetBlock]:
    """Yield all jets of a file in order; memory does not grow with the file.

    Raises:
        DataError: it is damaged, no HLS4ML file, or its truth is not one class a jet.
    """
    with opened(path, label) as file:
        layout = find_layout(file, label)
        for start in range(0, layout.n_jets, layout.rows_per_read):
            rows = slice(start, min(start + layout.rows_per_read, layout.n_jets))
            yield _block(start, _jets(file, layout, rows), file[CONSTITUENTS][rows], layout, label)


def read_rows(path: Path, label: str, start: int, stop: int) -> JetBlock:
    """Return the jets numbered start (included) to stop (not included) of a file.

    Raises:
        DataError: as `read_blocks`, or the file has no such jets any more.
    """
    with opened(path, label) as file:
        layout = _layout_of_rows(file, label, stop)
        rows = slice(start, stop)
        return _block(start, _jets(file, layout, rows), file[CONSTITUENTS][rows], layout, label)


def read_truth(
    path: Path, label: str, start: int, stop: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Return mass [GeV], NaN where it is not told, and class; no constituents are read."""
    with opened(path, label) as file:
        layout = _layout_of_rows(file, label, stop)
        no_constituents = np.zeros((stop - start, 0, max(layout.features) + 1), np.float32)
        jets = _jets(file, layout, slice(start, stop))
        block = _block(start, jets, no_constituents, layout, label)
    return block.mass_gev, block.class_index


def constituent_lists(columns: Numbers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return constituents without padding, in descending pt, at most MAX_CONSTITUENTS a jet.

    Features are the columns as they stand, or their natural logarithm where the name of the
    feature says so. Padding is a constituent with pt = 0.

    Args:
        columns: float [jet, constituent, column], those of FEATURE_COLUMNS.

    Returns:
        int64 [jet], the number of constituents; float32 [constituent, feature], those of the
        first jet, then those of the second and so on. A value that has no logarithm is NaN.

    >>> columns = np.zeros((1, 3, 8))
    >>> columns[0, :2] = [[0.1, 0, 0.25, 0.1, 1, 0.5, 1, 1], [0, 0.1, 0.75, 0.1, 3, 0.5, 3, 1]]
    >>> counts, features = constituent_lists(columns)
    >>> counts.tolist(), [round(float(x), 3) for x in features[0]]
    ([2], [0.0, 0.1, -0.288, 0.1, 1.099, -0.693, 1.099, 1.0])
    """
    pt = columns[:, :, _PT]
    if (np.diff(pt, axis=1) > 0).any():
        order = np.argsort(-pt, axis=1, kind="stable")
        columns = np.take_along_axis(columns, order[:, :, np.newaxis], axis=1)
    columns = columns[:, :MAX_CONSTITUENTS]
    is_real = columns[:, :, _PT] != 0  # NaN and negative ones are found to be bad later
    features = columns[is_real].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        features[:, _LOGARITHMS] = np.log(features[:, _LOGARITHMS])
        return is_real.sum(axis=1, dtype=np.int64), features.astype(np.float32)


def _layout_of_rows(file: h5py.File, label: str, stop: int) -> Layout:
    layout = find_layout(file, label)
    if stop > layout.n_jets:
        raise DataError(f"{label}: has {layout.n_jets} jets, fewer than when it was opened first")
    return layout


def _jets(file: h5py.File, layout: Layout, rows: slice) -> Numbers:
    """Return float [jet, column] of the table of jets, without a column where there is none."""
    if layout.mass is None:
        return np.zeros((rows.stop - rows.start, 0), np.float32)
    found: Numbers = file[JETS][rows]
    return found


def _block(
    start: int, jets: Numbers, constituents: Numbers, layout: Layout, label: str
) -> JetBlock:
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        mass_gev = (
            np.full(len(jets), np.nan, np.float32)
            if layout.mass is None
            else jets[:, layout.mass].astype(np.float32)
        )
    if layout.classes is None:
        class_index = np.full(len(jets), NO_CLASS, np.int8)
    else:
        class_index = _class_index(start, jets[:, layout.classes], label)
    return JetBlock(start, mass_gev, class_index, constituents[:, :, layout.features])


def _class_index(start: int, truth: Numbers, label: str) -> npt.NDArray[np.int8]:
    """Return the class of each jet from one column for each class, which hold 0 or 1."""
    is_bad = ~((truth == 0) | (truth == 1)).all(axis=1) | (truth.sum(axis=1) > 1)
    if is_bad.any():
        index = int(np.flatnonzero(is_bad)[0])
        raise DataError(
            f"{label}: the truth of jet {start + index} is {truth[index].tolist()} for"
            f" {', '.join(CLASS_NAMES)}; one may be 1, the others 0"
        )
    return np.where(truth.any(axis=1), truth.argmax(axis=1), NO_CLASS).astype(np.int8)


def is_absurd(features: Numbers) -> npt.NDArray[np.bool_]:
    """Return bool [constituent, feature]: not finite, or out of bounds."""
    absurd: npt.NDArray[np.bool_] = ~((features >= _LOW) & (features <= _HIGH))
    return absurd


def value_fault(features: Numbers, mass_gev: float = 0.0) -> str:
    """Return what is wrong with one jet, for the end of `jet 7 has ...`.

    Args:
        features: float32 [constituent, feature].
        mass_gev: of the jet.
    """
    not_finite = ~np.all(np.isfinite(features), axis=0)
    columns = [name for name, bad in zip(FEATURE_COLUMNS, not_finite, strict=True) if bad]
    columns += [] if np.isfinite(mass_gev) else [MASS_COLUMN]
    if columns:
        return f"values in {', '.join(columns)} that are NaN, infinite or without a logarithm"
    if MASS_BOUNDS_GEV.outside(np.array(mass_gev)):
        return f"a mass ({MASS_COLUMN}) {mass_fault(mass_gev)}"
    constituent, index = np.argwhere(is_absurd(features))[0].tolist()
    name = FEATURE_NAMES[index]
    column = f"{'ln ' * name.startswith('ln_')}{FEATURE_COLUMNS[index]}"
    value = features[constituent, index]
    return f"a constituent with {column} = {value:g}, outside of {FEATURE_BOUNDS[name]}"
