"""A detector that sees some particles, and those with Gaussian errors; pure numpy."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.simulation.settings import DetectorResolution

CHARGED: Final = 0
PHOTON: Final = 1
NEUTRAL_HADRON: Final = 2


@dataclass(frozen=True)
class Particles:
    """Particles taken as massless: their directions and transverse momenta."""

    kind: npt.NDArray[np.int8]
    """[particle], CHARGED, PHOTON or NEUTRAL_HADRON."""
    pt_gev: npt.NDArray[np.float64]
    eta: npt.NDArray[np.float64]
    phi: npt.NDArray[np.float64]

    def above(self, min_pt_gev: float) -> "Particles":
        """Return the particles with pt >= min_pt_gev and pt > 0."""
        seen = (self.pt_gev >= min_pt_gev) & (self.pt_gev > 0)
        return Particles(self.kind[seen], self.pt_gev[seen], self.eta[seen], self.phi[seen])


def smear(
    particles: Particles, resolution: DetectorResolution, generator: np.random.Generator
) -> Particles:
    """Return the particles with errors of the detector's size, in the order given.

    A particle whose energy would turn negative gets pt 0.
    """
    n_particles = len(particles.pt_gev)
    errors = generator.standard_normal((3, n_particles))
    relative = relative_resolution(particles, resolution)
    by_kind = np.array(
        [resolution.charged_angle, resolution.photon_angle, resolution.hadron_angle]
    )
    angle = by_kind[particles.kind]
    return Particles(
        kind=particles.kind,
        pt_gev=particles.pt_gev * np.maximum(1.0 + relative * errors[0], 0.0),
        eta=particles.eta + angle * errors[1],
        phi=particles.phi + angle * errors[2],
    )


def relative_resolution(
    particles: Particles, resolution: DetectorResolution
) -> npt.NDArray[np.float64]:
    """sigma(pt) / pt of each particle; at fixed direction this is sigma(E) / E.

    >>> photon = Particles(np.array([PHOTON]), np.array([100.0]), np.zeros(1), np.zeros(1))
    >>> round(float(relative_resolution(photon, DetectorResolution())[0]), 5)
    0.00428
    """
    pt, energy = particles.pt_gev, particles.pt_gev * np.cosh(particles.eta)
    charged = np.hypot(resolution.charged_pt_constant, resolution.charged_pt_slope * pt)
    photon = np.sqrt(
        resolution.photon_energy_stochastic**2 / energy
        + (resolution.photon_energy_noise / energy) ** 2
        + resolution.photon_energy_constant**2
    )
    hadron = np.sqrt(
        resolution.hadron_energy_stochastic**2 / energy + resolution.hadron_energy_constant**2
    )
    return np.choose(particles.kind, [charged, photon, hadron])
