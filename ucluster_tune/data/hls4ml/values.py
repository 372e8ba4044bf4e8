"""Which values of HDF5 files are none that a jet can have, and how that is told."""

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.bounds import FEATURE_BOUNDS, MASS_BOUNDS_GEV, mass_fault
from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.packed import FloatArray
from ucluster_tune.data.hls4ml.layout import FEATURE_COLUMNS, MASS_COLUMN

_LOW = np.array([FEATURE_BOUNDS[name].low for name in FEATURE_NAMES], np.float32)
_HIGH = np.array([FEATURE_BOUNDS[name].high for name in FEATURE_NAMES], np.float32)


def is_absurd(features: FloatArray) -> npt.NDArray[np.bool_]:
    """Return bool [constituent, feature]: not finite, or out of bounds."""
    absurd: npt.NDArray[np.bool_] = ~((features >= _LOW) & (features <= _HIGH))
    return absurd


def value_fault(features: FloatArray, mass_gev: float = 0.0) -> str:
    """Return what is wrong with one jet, for the end of `jet 7 has ...`.

    Args:
        features: float32 [constituent, feature].
        mass_gev: of the jet.
    """
    not_finite = ~np.isfinite(features).all(axis=0)
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
