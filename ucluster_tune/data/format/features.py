"""The eight features of a jet's constituents, from their momenta; pure numpy.

The definitions reproduce the published network's input to float32 rounding. Names follow the
HLS4ML files (`j1_etarel` and so on): `_rel` is relative to the jet; energy and pt are in GeV.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

CLASS_NAMES: Final = ("g", "q", "w", "z", "t")
"""Gluon, light quark, W, Z and top."""

FEATURE_NAMES: Final = (
    "eta_rel",
    "phi_rel",
    "ln_pt_rel",
    "delta_r",
    "ln_energy",
    "ln_energy_rel",
    "ln_pt",
    "cos_theta_rel",
)
"""In the order of the network's input."""

N_FEATURES: Final = len(FEATURE_NAMES)

MAX_CONSTITUENTS: Final = 100
"""Constituents of a jet that are kept, in descending pt."""


def wrap_angle(angle: Floats) -> npt.NDArray[np.float64]:
    """Return an angle in (-pi, pi].

    >>> [float(x) for x in wrap_angle(np.array([0.25, np.pi, -np.pi, 2 * np.pi]))]
    [0.25, 3.141592653589793, 3.141592653589793, 0.0]
    """
    values: npt.NDArray[np.float64] = np.asarray(angle, dtype=np.float64)
    turns: npt.NDArray[np.float64] = np.ceil((values - np.pi) / (2 * np.pi))
    wrapped: npt.NDArray[np.float64] = values - 2 * np.pi * turns
    return wrapped


def massless_momenta(pt_gev: Floats, eta: Floats, phi: Floats) -> npt.NDArray[np.float64]:
    """Momenta of massless particles: float64 [particle, 4], px py pz energy in GeV.

    >>> massless_momenta(np.array([2.0]), np.array([0.0]), np.array([0.0])).tolist()
    [[2.0, 0.0, 0.0, 2.0]]
    """
    components = [np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)]
    directions = np.stack(components, axis=-1, dtype=np.float64, casting="same_kind")
    return directions * np.asarray(pt_gev, dtype=np.float64)[..., np.newaxis]


def jet_mass(momentum: Floats) -> float:
    """Return the mass in GeV of a (px, py, pz, energy); 0 where rounding makes it imaginary.

    >>> jet_mass(np.array([3.0, 0.0, 0.0, 5.0]))
    4.0
    """
    px, py, pz, energy = (float(component) for component in momentum)
    return float(np.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0.0)))


def constituent_features(momenta: Floats, jet_momentum: Floats) -> npt.NDArray[np.float32]:
    """Return the features of one jet's constituents: float32 [constituent, feature].

    With eta the pseudorapidity and p the three-momentum:
    `eta_rel = eta - eta_jet`, `phi_rel = phi - phi_jet` in (-pi, pi],
    `ln_pt_rel = ln(pt / pt_jet)`, `delta_r = sqrt(eta_rel^2 + phi_rel^2)`,
    `ln_energy = ln(energy)`, `ln_energy_rel = ln(energy / energy_jet)`, `ln_pt = ln(pt)`, and
    `cos_theta_rel = p . p_jet / (|p| |p_jet|)`, of the angle between constituent and jet.

    Args:
        momenta: float [constituent, 4], px py pz energy in GeV, each pt and energy > 0.
        jet_momentum: float [4], in the reference data the sum of the constituents.

    >>> momenta = massless_momenta(np.array([3.0, 1.0]), np.array([0.0, 0.1]), np.zeros(2))
    >>> features = constituent_features(momenta, momenta.sum(axis=0))
    >>> [round(float(x), 3) for x in features[1]]
    [0.075, 0.0, -1.386, 0.075, 0.005, -1.383, 0.0, 0.997]
    """
    momenta = np.asarray(momenta, dtype=np.float64)
    jet = np.asarray(jet_momentum, dtype=np.float64)
    pt, eta, phi = _cylindrical(momenta)
    jet_pt, jet_eta, jet_phi = _cylindrical(jet[np.newaxis])
    eta_rel = eta - jet_eta
    phi_rel = wrap_angle(phi - jet_phi)
    momentum, jet_three_momentum = momenta[:, :3], jet[:3]
    cos_theta_rel = (momentum @ jet_three_momentum) / (
        np.linalg.norm(momentum, axis=1) * np.linalg.norm(jet_three_momentum)
    )
    features = [
        eta_rel,
        phi_rel,
        np.log(pt / jet_pt),
        np.hypot(eta_rel, phi_rel),
        np.log(momenta[:, 3]),
        np.log(momenta[:, 3] / jet[3]),
        np.log(pt),
        np.clip(cos_theta_rel, -1.0, 1.0),
    ]
    return np.stack(features, axis=-1, dtype=np.float32, casting="same_kind")


def _cylindrical(
    momenta: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Transverse momentum, pseudorapidity and azimuth of [particle, 4]."""
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    return pt, np.arcsinh(momenta[:, 2] / pt), np.arctan2(momenta[:, 1], momenta[:, 0])
