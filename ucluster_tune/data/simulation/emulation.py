"""An emulation of tracker and calorimeter cells with Gaussian errors; pure numpy."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import Floats, cylindrical, massless_momenta
from ucluster_tune.data.simulation.settings import Emulation

CHARGED_HADRON: Final = 1
LEPTON: Final = 2
PHOTON: Final = 3
NEUTRAL_HADRON: Final = 4

KINDS: Final[dict[int, int]] = {
    **dict.fromkeys((211, 321, 2212, 3112, 3222, 3312), CHARGED_HADRON),
    **dict.fromkeys((11, 13, 15), LEPTON),
    **dict.fromkeys((22, 111), PHOTON),
    **dict.fromkeys((130, 310, 2112, 3122, 3322), NEUTRAL_HADRON),
}
"""What a final particle is taken for, by absolute PDG number; all others are not seen."""

_LEAST_FACTOR: Final = 1e-10  # of a momentum: errors turn none around


@dataclass(frozen=True)
class Particles:
    """Particles as the collision has them.

    Attributes:
        kind: int8 [particle], values of KINDS.
        momenta: float64 [particle, 4], px py pz energy in GeV.
    """

    kind: npt.NDArray[np.int8]
    momenta: npt.NDArray[np.float64]


def emulate(
    particles: Particles,
    detector: Emulation,
    *,
    max_abs_eta: float,
    smearing_scale: float,
    generator: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return what the detector measures: float64 [track or cell, 4], px py pz energy in GeV.

    Leptons, and charged hadrons up to `track_pt_max_gev`, are tracks: their directions are exact
    and they keep their masses. Photons fill the cells of the electromagnetic calorimeter, all
    other hadrons those of the hadron calorimeter; a cell with energy becomes a massless momentum
    towards its centre. Each momentum is multiplied by a Gaussian of mean 1.

    Args:
        particles: with pt > 0.
        detector: sizes and resolutions.
        max_abs_eta: nothing is seen beyond.
        smearing_scale: factor of the resolutions.
        generator: of the errors.
    """
    pt, eta, phi = cylindrical(particles.momenta)
    is_central = np.abs(eta) < max_abs_eta
    kind, energy = particles.kind, particles.momenta[:, 3]
    is_track = (kind == LEPTON) | ((kind == CHARGED_HADRON) & (pt <= detector.track_pt_max_gev))
    is_photon = kind == PHOTON
    is_hadron = ~is_track & ~is_photon

    def cells(is_inside: npt.NDArray[np.bool_], width: float) -> npt.NDArray[np.float64]:
        inside = is_inside & is_central
        return cell_momenta(energy[inside], eta[inside], phi[inside], width, max_abs_eta)

    tracks = particles.momenta[is_track & is_central]
    electromagnetic = cells(is_photon, detector.electromagnetic_cell)
    hadronic = cells(is_hadron, detector.hadron_cell)
    momenta = np.concatenate([tracks, electromagnetic, hadronic])
    relative = np.concatenate(
        [
            track_resolution(pt[is_track & is_central], detector),
            electromagnetic_resolution(electromagnetic[:, 3], detector),
            hadron_resolution(hadronic[:, 3], detector),
        ]
    )
    errors = smearing_scale * relative * generator.standard_normal(len(momenta))
    smeared: npt.NDArray[np.float64]
    smeared = momenta * np.maximum(1.0 + errors, _LEAST_FACTOR)[:, np.newaxis]
    return smeared


def cell_momenta(
    energy_gev: Floats, eta: Floats, phi: Floats, width: float, max_abs_eta: float
) -> npt.NDArray[np.float64]:
    """Return the momenta of the cells with energy: float64 [cell, 4], px py pz energy in GeV.

    Args:
        energy_gev: float [particle].
        eta: float [particle], within max_abs_eta.
        phi: float [particle], in [-pi, pi].
        width: of a cell in eta and phi, made a little larger so that whole cells fill both.
        max_abs_eta: where the calorimeter ends.

    >>> two = cell_momenta(np.array([1.0, 2.0]), np.full(2, 0.004), np.full(2, 0.01), 0.01, 3.0)
    >>> two.round(3).tolist()
    [[3.0, 0.015, 0.015, 3.0]]
    """
    n_eta, n_phi = int(2 * max_abs_eta / width), int(2 * np.pi / width)
    row = np.floor((eta + max_abs_eta) * (n_eta / (2 * max_abs_eta))).astype(np.int64)
    column = np.floor((phi + np.pi) * (n_phi / (2 * np.pi))).astype(np.int64)
    address = np.minimum(row, n_eta - 1) * n_phi + np.minimum(column, n_phi - 1)
    filled, cell = np.unique(address, return_inverse=True)
    energy = np.bincount(cell, weights=energy_gev, minlength=len(filled))
    centre_eta = (filled // n_phi + 0.5) * (2 * max_abs_eta / n_eta) - max_abs_eta
    centre_phi = (filled % n_phi + 0.5) * (2 * np.pi / n_phi) - np.pi
    return massless_momenta(energy / np.cosh(centre_eta), centre_eta, centre_phi)


def track_resolution(pt_gev: Floats, detector: Emulation) -> npt.NDArray[Any]:
    """Return sigma(pt) / pt of tracks.

    >>> round(float(track_resolution(np.array([100.0]), Emulation())[0]), 5)
    0.02915
    """
    resolution: npt.NDArray[Any] = np.hypot(detector.track_slope * pt_gev, detector.track_constant)
    return resolution


def electromagnetic_resolution(energy_gev: Floats, detector: Emulation) -> npt.NDArray[Any]:
    """Return sigma(E) / E of electromagnetic cells.

    >>> round(float(electromagnetic_resolution(np.array([100.0]), Emulation())[0]), 5)
    0.00651
    """
    stochastic = detector.electromagnetic_stochastic**2 / (
        energy_gev / detector.electromagnetic_reference_gev
    )
    noise = detector.electromagnetic_noise_gev / energy_gev
    relative: npt.NDArray[Any]
    relative = np.sqrt(stochastic + noise**2 + detector.electromagnetic_constant**2)
    return relative


def hadron_resolution(energy_gev: Floats, detector: Emulation) -> npt.NDArray[Any]:
    """Return sigma(E) / E of hadron cells.

    >>> round(float(hadron_resolution(np.array([700.0]), Emulation())[0]), 5)
    0.13
    """
    stochastic = detector.hadron_stochastic**2 / (energy_gev / detector.hadron_reference_gev)
    relative: npt.NDArray[Any] = np.sqrt(stochastic + detector.hadron_constant**2)
    return relative
