"""Masses and classes of the jets of a source that pass a selection: what an accuracy needs."""

from dataclasses import dataclass

import numpy as np

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.packed import FloatArray, IntArray
from ucluster_tune.data.format.schema import JET_CLASS
from ucluster_tune.data.reading.jet_source import JetSource
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError


def all_labels(source: JetSource) -> tuple[FloatArray, IntArray]:
    """Return mass [GeV] and class of all jets of a source, in order."""
    return source.read_labels(range(len(source.block_sizes)))


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
        n_unlabelled: jets in the window, of no class or of an unknown one.
        unknown_classes: some names of those, where there are such jets.
    """

    mass_gev: FloatArray
    jet_class: IntArray
    class_names: tuple[str, ...]
    n_read: int
    n_outside: int
    n_other_class: int
    n_unlabelled: int
    unknown_classes: tuple[str, ...] = ()


def select_labels(source: JetSource, selection: Selection) -> SelectedLabels:
    """Return masses and classes of the jets that pass; features are not read.

    Raises:
        DataError: none passes; names classes that are not known.
    """
    mass_gev, jet_class = all_labels(source)
    in_window = selection.in_window(mass_gev)
    passes = selection.passes(mass_gev, jet_class)
    unlabelled = in_window & (jet_class < 0)
    unknown = source.unknown_classes() if unlabelled.any() else []
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
            f"{_names(unknown)}"
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
        unknown_classes=tuple(unknown),
    )


def _names(unknown: list[str]) -> str:
    if not unknown:
        return ""
    names = ", ".join(map(repr, unknown))
    return f"\nUnknown in column {JET_CLASS}: {names}; the classes are {', '.join(CLASS_NAMES)}"
