"""Which jets a number is about: a window of masses and some classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets
from ucluster_tune.data.reading.jet_stream import JetSource, read_labels
from ucluster_tune.errors import DataError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """A window of masses and some classes; the published window where nothing is said.

    Attributes:
        mass_min_gev, mass_max_gev: jets strictly between them.
        classes: names; None for all.
    """

    mass_min_gev: float = DataConfig.model_fields["mass_min_gev"].default
    mass_max_gev: float = DataConfig.model_fields["mass_max_gev"].default
    classes: tuple[str, ...] | None = None

    def __str__(self) -> str:
        window = f"{self.mass_min_gev:g} < mass < {self.mass_max_gev:g} GeV"
        return window if self.classes is None else f"{', '.join(self.classes)} with {window}"

    def in_window(self, mass_gev: FloatArray) -> BoolArray:
        """Return bool [jet]."""
        return (mass_gev > self.mass_min_gev) & (mass_gev < self.mass_max_gev)

    def in_classes(self, jet_class: IntArray) -> BoolArray:
        """Return bool [jet] for indices into CLASS_NAMES; jets without class are in none."""
        wanted = CLASS_NAMES if self.classes is None else self.classes
        return np.isin(jet_class, [CLASS_NAMES.index(name) for name in wanted])

    def passes(self, mass_gev: FloatArray, jet_class: IntArray) -> BoolArray:
        """Return bool [jet]: whether a jet is in the window and of a wanted class."""
        return self.in_window(mass_gev) & self.in_classes(jet_class)


@dataclass(frozen=True)
class SelectedJets:
    """The jets of a source that pass a selection, in its order; a source for predictions.

    Its blocks are those of the source, so `block_sizes` are those before the selection.
    """

    source: JetSource
    selection: Selection

    @property
    def description(self) -> str:
        """What is read, in words."""
        return f"{self.source.description}, {self.selection}"

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each block before the selection."""
        return self.source.block_sizes

    def read_block(self, index: int) -> Iterator[PackedJets]:
        """Yield the selected jets of a block."""
        for jets in self.source.read_block(index):
            chosen = np.flatnonzero(self.selection.passes(jets.mass_gev, jets.jet_class))
            if len(chosen):
                yield jets.take(chosen)

    def read_block_labels(self, index: int) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the selected jets of a block."""
        mass_gev, jet_class = self.source.read_block_labels(index)
        passes = self.selection.passes(mass_gev, jet_class)
        return mass_gev[passes], jet_class[passes]


@dataclass(frozen=True)
class SelectedLabels:
    """Masses and classes of the jets that pass a selection, and what became of the others.

    Attributes:
        mass_gev: float32 [selected jet].
        jet_class: int64 [selected jet]; index into `class_names`.
        class_names: those among them, in the order of CLASS_NAMES.
        n_read: jets of the source.
        n_outside: jets outside the window, whatever their class.
        n_other_class: jets in the window, of another class.
        n_unlabelled: jets in the window, of unknown class.
    """

    mass_gev: FloatArray
    jet_class: IntArray
    class_names: tuple[str, ...]
    n_read: int
    n_outside: int
    n_other_class: int
    n_unlabelled: int


def select_labels(source: JetSource, selection: Selection) -> SelectedLabels:
    """Return masses and classes of the jets that pass; features are not read.

    Raises:
        DataError: none passes.
    """
    mass_gev, jet_class = read_labels(source)
    in_window = selection.in_window(mass_gev)
    passes = selection.passes(mass_gev, jet_class)
    unlabelled = in_window & (jet_class < 0)
    if not passes.any():
        reason = (
            f"; {int(unlabelled.sum())} in the window have no class or an unknown one, and an"
            " accuracy needs classes"
            if unlabelled.any()
            else ""
        )
        raise DataError(
            f"{source.description}: none of {len(mass_gev)} jets passes {selection}{reason};"
            " choose other data, or change --mass-min, --mass-max or --classes"
        )
    present = np.unique(jet_class[passes])
    return SelectedLabels(
        mass_gev=mass_gev[passes],
        jet_class=np.searchsorted(present, jet_class[passes]),
        class_names=tuple(CLASS_NAMES[index] for index in present),
        n_read=len(mass_gev),
        n_outside=int((~in_window).sum()),
        n_other_class=int((in_window & ~passes & ~unlabelled).sum()),
        n_unlabelled=int(unlabelled.sum()),
    )
