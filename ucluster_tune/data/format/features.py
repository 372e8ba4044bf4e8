"""The eight features of a jet's constituents, from their momenta; pure numpy.

The definitions are those of the programs that made the HLS4ML files, whose names they follow
(`j1_etarel` and so on): `_rel` is relative to the jet; energy and pt are in GeV.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.integer[Any]]

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

PRONG_DISTANCE: Final = 0.1
"""From the leading constituent in (eta, phi): further away the second prong is looked for."""


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
    """Return the momenta of massless particles: float64 [particle, 4], px py pz energy in GeV.

    >>> massless_momenta(np.array([2.0]), np.array([0.0]), np.array([0.0])).tolist()
    [[2.0, 0.0, 0.0, 2.0]]
    """
    components = [np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)]
    directions = np.stack(components, axis=-1, dtype=np.float64, casting="same_kind")
    return directions * np.asarray(pt_gev, dtype=np.float64)[..., np.newaxis]


def jet_masses(momenta: Floats) -> npt.NDArray[np.float64]:
    """Return the masses in GeV of momenta [jet, 4]; 0 where rounding makes one imaginary.

    >>> jet_masses(np.array([[3.0, 0.0, 0.0, 5.0]])).tolist()
    [4.0]
    """
    squares = np.square(np.asarray(momenta, dtype=np.float64))
    masses: npt.NDArray[np.float64] = np.sqrt(
        np.maximum(squares[:, 3] - squares[:, :3].sum(axis=1), 0.0)
    )
    return masses


def constituent_features(
    momenta: Floats, jet_momenta: Floats, n_constituents: Counts
) -> npt.NDArray[np.float32]:
    """Return the features of the constituents of jets: float32 [constituent, feature].

    With eta the pseudorapidity: `eta_rel = eta - eta_jet`, `phi_rel = phi - phi_jet` in
    (-pi, pi], `ln_pt_rel = ln(pt / pt_jet)`, `delta_r = sqrt(eta_rel^2 + phi_rel^2)`,
    `ln_energy = ln(energy)`, `ln_energy_rel = ln(energy / energy_jet)`, `ln_pt = ln(pt)`;
    `cos_theta_rel` is told at the function of this name.

    Args:
        momenta: float [constituent, 4], px py pz energy in GeV, each pt and energy > 0; those of
            the first jet in descending pt, then those of the second and so on.
        jet_momenta: float [jet, 4], the sums of all constituents.
        n_constituents: int [jet], each at least 1.

    >>> momenta = massless_momenta(np.array([3.0, 1.0]), np.array([0.0, 0.2]), np.zeros(2))
    >>> jet = momenta.sum(axis=0, keepdims=True)
    >>> features = constituent_features(momenta, jet, np.array([2]))
    >>> [round(float(x), 3) for x in features[1]]
    [0.15, 0.0, -1.386, 0.15, 0.02, -1.371, 0.0, 0.0]
    """
    particles: npt.NDArray[np.float64] = np.asarray(momenta, dtype=np.float64)
    jets: npt.NDArray[np.float64] = np.asarray(jet_momenta, dtype=np.float64)
    pt, eta, phi = cylindrical(particles)
    of_jet = np.stack([*cylindrical(jets), jets[:, 3]])
    jet_pt, jet_eta, jet_phi, jet_energy = np.repeat(of_jet, n_constituents, axis=1)
    eta_rel, phi_rel = eta - jet_eta, wrap_angle(phi - jet_phi)
    features = [
        eta_rel,
        phi_rel,
        np.log(pt / jet_pt),
        np.hypot(eta_rel, phi_rel),
        np.log(particles[:, 3]),
        np.log(particles[:, 3] / jet_energy),
        np.log(pt),
        cos_theta_rel(pt, eta, phi, n_constituents),
    ]
    return np.stack(features, axis=-1, dtype=np.float32, casting="same_kind")


def cos_theta_rel(
    pt: Floats, eta: Floats, phi: Floats, n_constituents: Counts
) -> npt.NDArray[np.float64]:
    """Return the feature that the HLS4ML files call `costhetarel`: float64 [constituent].

    No cosine of an angle to the jet, as the name suggests, but a coordinate of the jet's image:
    tanh of the pseudorapidity after the leading constituent was shifted to the origin, and the
    jet turned about it so that the hardest constituent that is further away than 0.1, the
    second prong, lies on the other axis. Its sign is flipped where more pt lies at smaller eta
    than the leading constituent's than at larger. (keras-training's rotation of jet images.)

    Args:
        pt: float [constituent], those of each jet in descending pt.
        eta: float [constituent], pseudorapidity; a common shift of a jet changes nothing.
        phi: float [constituent], likewise.
        n_constituents: int [jet], each at least 1.

    >>> pt, eta, phi = np.array([3.0, 1.0, 0.5]), np.array([0.0, 0.2, 0.0]), np.zeros(3)
    >>> phi[2] = 0.1
    >>> [abs(round(float(x), 4)) for x in cos_theta_rel(pt, eta, phi, np.array([3]))]
    [0.0, 0.0, 0.0998]
    """
    first = np.concatenate([[0], np.cumsum(n_constituents)[:-1]]).astype(np.int64)
    jet = np.repeat(np.arange(len(first)), n_constituents)
    x, y = eta - eta[first][jet], wrap_angle(phi - phi[first][jet])
    across, along = np.sin(y), np.sinh(x)  # of a momentum with pt 1
    number = np.arange(len(pt))
    is_far = np.hypot(x, y) > PRONG_DISTANCE
    prong = np.minimum.reduceat(np.where(is_far, number, len(pt)), first)
    has_prong = prong < len(pt)
    prong = np.where(has_prong, prong, 0)
    angle = np.where(has_prong, np.arctan2(across[prong], along[prong]) + np.pi / 2, 0.0)[jet]
    turned_across = np.cos(angle) * across - np.sin(angle) * along
    turned_along = np.sin(angle) * across + np.cos(angle) * along
    tanh = turned_along / np.sqrt(np.cos(y) ** 2 + turned_across**2 + turned_along**2)
    balance = np.add.reduceat(np.sign(x) * pt, first)
    flipped: npt.NDArray[np.float64] = np.where(balance < 0, -1.0, 1.0)[jet] * tanh
    return flipped


def cylindrical(
    momenta: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return transverse momentum, pseudorapidity and azimuth of momenta [particle, 4]."""
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    return pt, np.arcsinh(momenta[:, 2] / pt), np.arctan2(momenta[:, 1], momenta[:, 0])
