"""High-level features of jets, computed from their constituents; pure numpy.

Those of arXiv:1804.06913, table 1 (the HLS4ML jets' own list), that need neither grooming nor
axes: multiplicity, the sum of z ln z, and ratios of energy correlation functions. Constituents are
those that are stored, at most the 100 hardest.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.packed import PackedJets

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

OBSERVABLES: Final = ("mass", "multiplicity", "sum z ln z", "C1", "C2", "D2")
_JETS_AT_A_TIME: Final = 32  # whose pairs fit a processor's cache
_ETA, _PHI, _LN_PT = (FEATURE_NAMES.index(n) for n in ("eta_rel", "phi_rel", "ln_pt_rel"))


def jet_observables(jets: PackedJets) -> Doubles:
    """Return float64 [jet, observable], in the order of `OBSERVABLES`; the mass in GeV.

    With z the share of a constituent in the sum of the constituents' pt, and angular exponent 1:
    C1 = e2 and C2 = e3 / e2^2 (arXiv:1305.0007), D2 = e3 / e2^3 (arXiv:1409.6298). A jet without
    two constituents in different places has e2 = 0; its ratios are 0.
    """
    n_real = jets.n_rows - (jets.n_padded > 0)
    found = np.zeros((len(jets), len(OBSERVABLES)))
    found[:, 0], found[:, 1] = jets.mass_gev, n_real
    by_size = np.argsort(n_real, kind="stable")  # so that little is computed on empty slots
    for start in range(0, len(by_size), _JETS_AT_A_TIME):
        chosen = by_size[start : start + _JETS_AT_A_TIME]
        slots = np.arange(n_real[chosen].max(initial=0))
        is_real = slots < n_real[chosen][:, None]
        rows = jets.first_rows[chosen][:, None] + np.where(is_real, slots, 0)
        features = jets.features[rows].astype(np.float64)  # [jet, slot, feature]
        pt = np.where(is_real, np.exp(features[..., _LN_PT]), 0.0)
        z = pt / np.maximum(pt.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        e2, e3 = energy_correlations(z, features[..., _ETA], features[..., _PHI])
        found[chosen, 2] = (z * np.log(np.where(z > 0, z, 1.0))).sum(axis=1)
        found[chosen, 3] = e2
        for column, power in ((4, 2), (5, 3)):
            found[chosen, column] = np.divide(e3, e2**power, out=np.zeros_like(e3), where=e2 > 0)
    return found


def energy_correlations(z: Floats, eta: Floats, phi: Floats) -> tuple[Doubles, Doubles]:
    """Return the normalised two- and three-point energy correlation functions, float64 [jet] each.

    arXiv:1305.0007, eq. 1 and 3 with exponent 1: e2 = sum over pairs of z_i z_j R_ij, e3 = sum
    over triples of z_i z_j z_k R_ij R_jk R_ik, with R the distance in (eta, phi). With the matrix
    A_ij = sqrt(z_i z_j) R_ij the latter is trace(A^3) / 6.

    Args:
        z: float [jet, constituent], shares of the pt; 0 where there is no constituent.
        eta: float [jet, constituent], pseudorapidity; a common shift of a jet changes nothing.
        phi: float [jet, constituent], likewise; two differ by less than 2 pi.

    >>> corner = np.array([[0.0, 0.3, 0.0]]), np.array([[0.0, 0.0, 0.4]])  # R: 0.3, 0.4, 0.5
    >>> e2, e3 = energy_correlations(np.full((1, 3), 1 / 3), *corner)
    >>> round(float(9 * e2[0]), 6), round(float(27 * e3[0]), 6)
    (1.2, 0.06)
    """
    root = np.sqrt(z)
    pairs = phi[:, :, None] - phi[:, None, :]
    np.abs(pairs, out=pairs)
    np.minimum(pairs, 2 * np.pi - pairs, out=pairs)
    np.square(pairs, out=pairs)
    pairs += np.square(eta[:, :, None] - eta[:, None, :])
    np.sqrt(pairs, out=pairs)  # R
    pairs *= root[:, :, None]
    pairs *= root[:, None, :]  # A
    e2: Doubles = np.einsum("ja,jab,jb->j", root, pairs, root, optimize=True) / 2
    e3: Doubles = np.einsum("jab,jab->j", pairs @ pairs, pairs) / 6
    return e2, e3
