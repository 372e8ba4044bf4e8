"""Jets from what a detector measures: anti-kT clustering with FastJet, the leading jet."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import MAX_CONSTITUENTS
from ucluster_tune.data.simulation.collisions import load_generator_library
from ucluster_tune.data.simulation.settings import SimulationSettings
from ucluster_tune.storage.descriptors import silent


@dataclass(frozen=True)
class Jet:
    """One jet and its leading constituents.

    Attributes:
        momentum: float64 [4], px py pz energy in GeV, the sum of all constituents.
        multiplicity: number of all constituents.
        constituents: float64 [constituent, 4], in descending pt, at most MAX_CONSTITUENTS.
    """

    momentum: npt.NDArray[np.float64]
    multiplicity: int
    constituents: npt.NDArray[np.float64]


class JetFinder:
    """Finds the leading jet of a collision."""

    def __init__(self, settings: SimulationSettings) -> None:
        self._settings = settings
        self._fastjet = load_generator_library("fastjet")
        self._definition = self._fastjet.JetDefinition(
            self._fastjet.antikt_algorithm, settings.jet_radius
        )
        with silent(1):  # FastJet greets at its first clustering
            self.find(np.array([[1.0, 0.0, 0.0, 1.0]]))

    def find(self, momenta: npt.NDArray[np.float64]) -> Jet | None:
        """Return the jet of largest pt; None where none is above `jet_pt_min_gev`.

        Args:
            momenta: float64 [track or cell, 4], px py pz energy in GeV.
        """
        inputs = list(map(self._fastjet.PseudoJet, *momenta.T.tolist()))
        sequence = self._fastjet.ClusterSequence(inputs, self._definition)
        candidates = list(sequence.inclusive_jets(self._settings.jet_pt_min_gev))
        if not candidates:
            return None
        leading = max(candidates, key=lambda jet: float(jet.pt()))
        # FastJet's history begins with the inputs in their order.
        members = momenta[sorted(item.cluster_hist_index() for item in leading.constituents())]
        pt = np.hypot(members[:, 0], members[:, 1])
        order = np.argsort(-pt, kind="stable")
        stored = order[pt[order] >= self._settings.min_pt_gev][:MAX_CONSTITUENTS]
        return Jet(members.sum(axis=0), len(members), members[stored])
