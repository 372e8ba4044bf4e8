"""Jets from particles: anti-kT clustering with FastJet, matching, and the constituents kept."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import (
    MAX_CONSTITUENTS,
    constituent_features,
    jet_mass,
    massless_momenta,
    wrap_angle,
)
from ucluster_tune.data.simulation.collisions import load_generator_library
from ucluster_tune.data.simulation.detector import Particles
from ucluster_tune.data.simulation.settings import SimulationSettings


@dataclass(frozen=True)
class Jet:
    """One jet: its mass and its leading constituents."""

    mass_gev: float
    features: npt.NDArray[np.float32]
    """[constituent, feature], in descending pt, at most MAX_CONSTITUENTS."""


class JetFinder:
    """Finds the jet that a particle became."""

    def __init__(self, settings: SimulationSettings) -> None:
        self._settings = settings
        self._fastjet = load_generator_library("fastjet")
        self._definition = self._fastjet.JetDefinition(
            self._fastjet.antikt_algorithm, settings.jet_radius
        )
        with _silent_stdout():  # FastJet greets at its first clustering
            self._cluster(np.array([[1.0, 0.0, 0.0, 1.0]]))

    def find(self, particles: Particles, origin_eta: float, origin_phi: float) -> Jet | None:
        """Return the hardest jet within the matching radius of its origin, or None.

        The jet's momentum is the sum of all its constituents, taken as massless; features are
        relative to that sum.
        """
        momenta = massless_momenta(particles.pt_gev, particles.eta, particles.phi)
        candidates = [
            jet
            for jet in self._cluster(momenta)
            if self._distance(jet, origin_eta, origin_phi) < self._settings.matching_radius
        ]
        if not candidates:
            return None
        hardest = max(candidates, key=lambda jet: float(jet.pt()))
        members = np.array(sorted(item.user_index() for item in hardest.constituents()))
        members = members[np.argsort(-particles.pt_gev[members], kind="stable")]
        momentum = momenta[members].sum(axis=0)
        kept = members[:MAX_CONSTITUENTS]
        return Jet(jet_mass(momentum), constituent_features(momenta[kept], momentum))

    def _cluster(self, momenta: npt.NDArray[np.float64]) -> list[Any]:
        """Jets above the least pt; valid for as long as the finder's last sequence lives."""
        inputs = []
        for index, components in enumerate(momenta.tolist()):
            item = self._fastjet.PseudoJet(*components)
            item.set_user_index(index)
            inputs.append(item)
        self._sequence = self._fastjet.ClusterSequence(inputs, self._definition)
        return list(self._sequence.inclusive_jets(self._settings.jet_pt_min_gev))

    @staticmethod
    def _distance(jet: Any, eta: float, phi: float) -> float:
        phi_difference = wrap_angle(np.array(jet.phi() - phi))
        return float(np.hypot(jet.eta() - eta, phi_difference))


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """Send what C++ prints to nowhere: standard output is for results."""
    saved = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
