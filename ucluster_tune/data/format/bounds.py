"""Between which values the quantities of a jet lie: what is beyond is a fault, not physics.

Generous: no jet of a collider, measured or simulated, lies outside. One value that does makes a
training worthless, as normalisation takes its average over all constituents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import Floats


@dataclass(frozen=True)
class Bounds:
    """Least and largest value, both allowed.

    >>> Bounds(-1.0, 1.0).outside(np.array([0.5, 1.0, 2.0, np.nan])).tolist()
    [False, False, True, True]
    >>> str(Bounds(-1.0, 1.0))
    '[-1, 1]'
    """

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

    def hold(self, values: Floats) -> bool:
        """Whether all values lie inside; one that is NaN does not."""
        return not len(values) or bool(values.min() >= self.low and values.max() <= self.high)

    def outside(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Return bool of the same shape; True for NaN too."""
        is_outside: npt.NDArray[np.bool_] = ~((values >= self.low) & (values <= self.high))
        return is_outside


_LOGARITHM: Final = Bounds(-100.0, 100.0)  # those of all positive numbers in float32 are inside

FEATURE_BOUNDS: Final[Mapping[str, Bounds]] = {
    "eta_rel": Bounds(-100.0, 100.0),
    "phi_rel": Bounds(-10.0, 10.0),  # radians, 2 pi where a difference was not wrapped
    "ln_pt_rel": _LOGARITHM,
    "delta_r": Bounds(-100.0, 100.0),
    "ln_energy": _LOGARITHM,
    "ln_energy_rel": _LOGARITHM,
    "ln_pt": _LOGARITHM,
    "cos_theta_rel": Bounds(-1.01, 1.01),
}
"""One for each of FEATURE_NAMES, in their order."""

MASS_BOUNDS_GEV: Final = Bounds(-0.5, 1e5)
"""Rounding makes the mass of a jet that has next to none negative: of momenta in float32 with
1 TeV by some 0.3 GeV."""

MEV_HINT: Final = "are masses and energies in MeV? they must be in GeV, divide them by 1000"
_SUSPICIOUS_MASS_GEV: Final = 1e4


class MassCensus:
    """Counts masses that are allowed and yet call for a remark.

    >>> census = MassCensus()
    >>> census.take(np.array([80e3, 91e3, 70.0, -0.01]))
    >>> census.remarks()
    ('1 jets have a mass just below 0, as rounding makes it; they are kept',)
    >>> census.take(np.array([80e3]))
    >>> census.unit_remark().partition(":")[0]
    '3 of 5 jets have a mass above 10000 GeV'
    """

    def __init__(self) -> None:
        self._n_jets = self._n_suspicious = self._n_negative = 0

    def take(self, mass_gev: npt.NDArray[np.floating[Any]]) -> None:
        """Count some jets; masses that are no numbers count as neither."""
        self._n_jets += len(mass_gev)
        self._n_suspicious += int(np.count_nonzero(mass_gev > _SUSPICIOUS_MASS_GEV))
        low = MASS_BOUNDS_GEV.low
        self._n_negative += int(np.count_nonzero((mass_gev < 0) & (mass_gev >= low)))

    def unit_remark(self) -> str:
        """Return what speaks for MeV: a median above 10 TeV; nothing where it is below."""
        if 2 * self._n_suspicious <= self._n_jets:
            return ""
        return (
            f"{self._n_suspicious} of {self._n_jets} jets have a mass above"
            f" {_SUSPICIOUS_MASS_GEV:g} GeV: {MEV_HINT}"
        )

    def remarks(self) -> tuple[str, ...]:
        """Return what the user should know, a sentence each."""
        negative = (
            f"{self._n_negative} jets have a mass just below 0, as rounding makes it; they are"
            " kept"
            if self._n_negative
            else ""
        )
        return tuple(remark for remark in (self.unit_remark(), negative) if remark)


def mass_fault(mass_gev: float) -> str:
    """Return what is wrong with a mass outside the bounds, to end `jet 7 has a mass ...`."""
    hint = f": {MEV_HINT}" if mass_gev > MASS_BOUNDS_GEV.high else ""
    return f"of {mass_gev:g} GeV, outside of {MASS_BOUNDS_GEV}{hint}"
