"""What a simulation is made with, as frozen values; knows nothing of Pythia or FastJet."""

from dataclasses import asdict, dataclass, field

from pydantic import JsonValue


@dataclass(frozen=True)
class DetectorResolution:
    """Gaussian resolutions of a CMS-like detector with particle flow (arXiv:1706.04965 in size).

    Transverse momenta and energies E in GeV; terms are added in quadrature.
    """

    charged_pt_constant: float = 0.01
    """Charged particles: sigma(pt) / pt = constant + slope * pt."""
    charged_pt_slope: float = 1.5e-4
    photon_energy_stochastic: float = 0.028
    """Photons: sigma(E) / E = stochastic / sqrt(E) + noise / E + constant."""
    photon_energy_noise: float = 0.12
    photon_energy_constant: float = 0.003
    hadron_energy_stochastic: float = 1.1
    """Neutral hadrons: sigma(E) / E = stochastic / sqrt(E) + constant."""
    hadron_energy_constant: float = 0.09
    charged_angle: float = 0.001
    """sigma(eta) = sigma(phi), by kind of particle."""
    photon_angle: float = 0.004
    hadron_angle: float = 0.02


@dataclass(frozen=True)
class SimulationSettings:
    """How jets are made; equal settings and an equal seed make equal jets."""

    multiparton_interactions: bool = True
    smearing: bool = True
    min_pt_gev: float = 1.0
    """Particles below, after smearing, are not seen: neither clustered nor stored."""
    significant_bits: int = 12
    """Of the stored features, in [2, 24]; 24 is all that float32 has."""
    beam_energy_gev: float = 13_000.0
    """Of both beams together."""
    hard_pt_min_gev: float = 980.0
    hard_pt_max_gev: float = 1030.0
    max_abs_eta: float = 3.0
    jet_radius: float = 0.8
    jet_pt_min_gev: float = 200.0
    matching_radius: float = 0.6
    resolution: DetectorResolution = field(default_factory=DetectorResolution)

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the settings as plain values, for a manifest."""
        values: dict[str, JsonValue] = asdict(self)
        if not self.smearing:
            del values["resolution"]
        return values
