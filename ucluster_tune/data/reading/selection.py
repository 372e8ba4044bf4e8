"""Which jets a number is about: a window of masses and some classes. Knows nothing of files."""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ucluster_tune.config.section import broken_rules
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.features import CLASS_NAMES

BoolArray = npt.NDArray[np.bool_]
JetClass = Annotated[str, Field(pattern=f"^({'|'.join(CLASS_NAMES)})$")]


@dataclass(frozen=True)
class Selection:
    """A window of masses and some classes; the published window where nothing is said.

    Attributes:
        mass_min_gev, mass_max_gev: jets strictly between them; infinite ones keep all.
        classes: names; None for all; an empty one for all jets, whatever their class, or of none.

    Raises:
        ValueError: no mass lies between the two, or a class is repeated or unknown.
    """

    mass_min_gev: float = DataConfig.model_fields["mass_min_gev"].default
    mass_max_gev: float = DataConfig.model_fields["mass_max_gev"].default
    classes: tuple[JetClass, ...] | None = None

    @model_validator(mode="after")
    def _rules_of_the_data_section_hold(self) -> "Selection":
        for rule, message in broken_rules(DataConfig.rules, vars(self)):
            raise ValueError(f"{rule.blames} {message}")
        return self

    def __str__(self) -> str:
        window = f"{self.mass_min_gev:g} < mass < {self.mass_max_gev:g} GeV"
        return f"{', '.join(self.classes)} with {window}" if self.classes else window

    def in_window(self, mass_gev: npt.NDArray[np.floating[Any]]) -> BoolArray:
        """Return bool [jet]; compared in double precision."""
        mass_gev = mass_gev.astype(np.float64)
        return (mass_gev > self.mass_min_gev) & (mass_gev < self.mass_max_gev)

    def in_classes(self, jet_class: npt.NDArray[np.integer[Any]]) -> BoolArray:
        """Return bool [jet] for indices into CLASS_NAMES; a jet without class is in no class."""
        if self.classes == ():
            return np.ones(len(jet_class), np.bool_)
        wanted = CLASS_NAMES if self.classes is None else self.classes
        return np.isin(jet_class, [CLASS_NAMES.index(name) for name in wanted])

    def passes(
        self, mass_gev: npt.NDArray[np.floating[Any]], jet_class: npt.NDArray[np.integer[Any]]
    ) -> BoolArray:
        """Return bool [jet]: whether a jet is in the window and of a wanted class."""
        return self.in_window(mass_gev) & self.in_classes(jet_class)
