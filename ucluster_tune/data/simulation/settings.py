"""What a simulation is made with, as frozen values; knows nothing of Pythia or FastJet.

The defaults are the recipe of the published HLS4ML jets, as their public programs have it
(github.com/nhanvtran/trackObservables, branch boostedPrecision-hls4ml), save the scale of the
smearing and the least stored pt, which were fitted to the published jets.
"""

from dataclasses import asdict, dataclass, field
from typing import Final

from pydantic import JsonValue

MASSES_GEV: Final = {23: 91.188, 24: 80.419, 6: 173.0}
"""On-shell masses of Z, W and top in the hard process, by PDG number."""


@dataclass(frozen=True)
class Emulation:
    """Tracker and calorimeter: what is a track, how large cells are, and relative resolutions.

    Momenta and energies in GeV; the terms of a resolution are added in quadrature.
    """

    track_pt_max_gev: float = 220.0
    """Charged hadrons above are seen by the hadron calorimeter alone."""
    hadron_cell: float = 0.010
    """Width of a cell in eta and phi, about."""
    electromagnetic_cell: float = 0.005
    track_slope: float = 0.00025
    """Tracks: sigma(pt) / pt = slope * pt + constant."""
    track_constant: float = 0.015
    electromagnetic_stochastic: float = 0.027
    """Cells: sigma(E) / E = stochastic / sqrt(E / reference) + noise / E + constant."""
    electromagnetic_reference_gev: float = 1.6
    electromagnetic_noise_gev: float = 0.24
    electromagnetic_constant: float = 0.005
    hadron_stochastic: float = 1.20
    hadron_reference_gev: float = 7.0
    hadron_constant: float = 0.05


@dataclass(frozen=True)
class SimulationSettings:
    """How jets are made; equal settings and an equal seed make equal jets."""

    parton_pt_min_gev: float = 995.0
    """Of the two particles that leave the hard process."""
    parton_pt_max_gev: float = 1005.0
    """Gluons have no upper edge."""
    on_shell: bool = True
    """Whether W, Z and top leave the hard process with MASSES_GEV, or with their widths."""
    multiparton_interactions: bool = True
    emulation: bool = True
    """Whether tracker and cells are emulated; without, every particle is measured exactly."""
    smearing_scale: float = 0.5
    """Factor of all resolutions of the emulation."""
    jet_radius: float = 0.4
    min_pt_gev: float = 0.25
    """Constituents below are part of the jet, and not stored."""
    significant_bits: int = 12
    """Of the stored features, in [2, 24]; 24 is all that float32 has."""
    beam_energy_gev: float = 13_000.0
    """Of both beams together."""
    max_abs_eta: float = 3.0
    jet_pt_min_gev: float = 100.0
    detector: Emulation = field(default_factory=Emulation)

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the settings as plain values, for a manifest."""
        values: dict[str, JsonValue] = asdict(self)
        if not self.emulation:
            del values["detector"]
        return values
