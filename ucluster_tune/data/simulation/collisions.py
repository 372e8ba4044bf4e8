"""Proton-proton collisions from Pythia 8: one hard process for each jet class."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ucluster_tune.data.simulation.detector import CHARGED, NEUTRAL_HADRON, PHOTON, Particles
from ucluster_tune.data.simulation.settings import SimulationSettings
from ucluster_tune.errors import MachineError

PROCESSES: Final[dict[str, tuple[str, ...]]] = {
    "g": ("HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"),
    "q": ("HardQCD:qq2qq = on", "HardQCD:gg2qqbar = on", "HardQCD:qqbar2qqbarNew = on"),
    "w": ("WeakDoubleBoson:ffbar2WW = on",),
    "z": ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2"),
    "t": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
}
"""Pythia's settings of each class's hard process; gmZmode 2 is the Z alone, without photon."""

ORIGINS: Final[dict[str, tuple[int, ...]]] = {
    "g": (21,),
    "q": (1, 2, 3),
    "w": (24,),
    "z": (23,),
    "t": (6,),
}
"""Absolute PDG numbers of the particle that a jet of each class comes from."""

_DECAYING: Final = frozenset({"w", "z", "t"})
_OUTGOING: Final = (5, 6)  # where Pythia's event record has the two outgoing particles
_MAX_FAILURES_IN_A_ROW: Final = 100
_MISSING: Final = (
    "simulation needs Pythia 8 and FastJet, which are not installed ({name} is missing);"
    " `make install` in a checkout brings them, `pip install pythia8mc==8.317.2 fastjet==3.5.2.*`"
    " adds them elsewhere"
)


@dataclass(frozen=True)
class Collision:
    """One collision: where the particle behind the jet went, and all visible final particles."""

    origin_eta: float
    origin_phi: float
    particles: Particles


def load_generator_library(name: str) -> Any:
    """Return the module `pythia8mc` or `fastjet`.

    Raises:
        MachineError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MachineError(_MISSING.format(name=name)) from error


def collide(
    class_name: str, settings: SimulationSettings, pythia_seed: int, choice: np.random.Generator
) -> Iterator[Collision]:
    """Collisions without end, each with one particle of a class as the origin of a jet.

    A collision has two outgoing particles; one of them is chosen by lot, so that jets are
    independent of each other.

    Args:
        class_name: one of CLASS_NAMES.
        settings: beams, phase space, multiparton interactions.
        pythia_seed: in [1, 900 000 000].
        choice: decides which of the two particles is taken.

    Raises:
        MachineError: Pythia is not installed, or does not start or go on.
    """
    pythia = _start_pythia(class_name, settings, pythia_seed)
    n_failures = 0
    while True:
        if not pythia.next():
            n_failures += 1
            if n_failures > _MAX_FAILURES_IN_A_ROW:
                raise MachineError(
                    f"Pythia 8 failed {n_failures} times in a row for class {class_name!r};"
                    " try another --seed"
                )
            continue
        n_failures = 0
        event = pythia.event
        index = _OUTGOING[int(choice.integers(2))]
        if abs(event[index].id()) not in ORIGINS[class_name]:
            continue
        if class_name in _DECAYING:  # the last copy has the recoils of the parton shower
            index = event[index].iBotCopyId()
        yield Collision(
            origin_eta=event[index].eta(),
            origin_phi=event[index].phi(),
            particles=_visible_particles(event, settings.max_abs_eta),
        )


def _start_pythia(class_name: str, settings: SimulationSettings, pythia_seed: int) -> Any:
    """Return a Pythia that is ready to make collisions, and silent."""
    library = load_generator_library("pythia8mc")
    pythia = library.Pythia("", False)
    for line in (
        "Print:quiet = on",
        f"Beams:eCM = {settings.beam_energy_gev}",
        f"PhaseSpace:pTHatMin = {settings.hard_pt_min_gev}",
        f"PhaseSpace:pTHatMax = {settings.hard_pt_max_gev}",
        f"PartonLevel:MPI = {'on' if settings.multiparton_interactions else 'off'}",
        "Random:setSeed = on",
        f"Random:seed = {pythia_seed}",
        "23:onMode = off",
        "23:onIfAny = 1 2 3 4 5",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
        *PROCESSES[class_name],
    ):
        if not pythia.readString(line):
            raise MachineError(f"Pythia 8 refuses the setting {line!r}; is its version 8.317?")
    if not pythia.init():
        raise MachineError(
            f"Pythia 8 does not start for class {class_name!r}; is its installation complete?"
        )
    return pythia


def _visible_particles(event: Any, max_abs_eta: float) -> Particles:
    """Return the final particles but neutrinos, up to a pseudorapidity."""
    rows = [
        (_kind(particle), particle.pT(), particle.eta(), particle.phi())
        for particle in event
        if particle.isFinal() and particle.isVisible()
    ]
    kind, pt, eta, phi = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    central = np.abs(eta) < max_abs_eta
    return Particles(kind[central].astype(np.int8), pt[central], eta[central], phi[central])


def _kind(particle: Any) -> int:
    if particle.isCharged():
        return CHARGED
    return PHOTON if particle.id() == 22 else NEUTRAL_HADRON
