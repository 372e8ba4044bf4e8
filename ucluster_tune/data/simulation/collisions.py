"""Proton-proton collisions from Pythia 8: a hard process of each jet class, then all the rest.

Two Pythias, as in the published jets, whose hard processes came from another generator: the first
one makes hard processes alone, the second one takes each with its two outgoing particles
undecayed, and adds showers, the underlying event, decays and hadrons.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ucluster_tune.data.simulation.emulation import KINDS, Particles
from ucluster_tune.data.simulation.settings import MASSES_GEV, SimulationSettings
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
"""Absolute PDG numbers of both outgoing particles of a class's hard process."""

_NO_UPPER_EDGE: Final = frozenset({"g"})
_INCOMING, _OUTGOING = (3, 4), (5, 6)  # places in the record of a hard process
_HALF_WINDOW_GEV: Final = 0.0005  # on-shell masses are pinned to 1 MeV
_MAX_TRIES: Final = 100_000
_MAX_FAILURES_IN_A_ROW: Final = 100
_COLLISIONS_PER_CALL: Final = 20  # what a block does not need of the last call was made in vain
_NOT_SEEN: Final = -1
_AXES: Final = ("px", "py", "pz", "e")
_MISSING: Final = (
    "simulation needs Pythia 8 and FastJet, which are not installed ({name} is missing);"
    " `make install` in a checkout brings them, `pip install pythia8mc==8.317.2 fastjet==3.5.2.*`"
    " adds them elsewhere"
)


@dataclass(frozen=True)
class HardProcess:
    """A hard process whose two outgoing particles have not decayed.

    Attributes:
        scale_gev: the pt of the outgoing particles, from which showers start.
        particles: two incoming, two outgoing, as Pythia's `addParticle` takes them: PDG number,
            status, two mothers, colour, anticolour, px, py, pz, energy and mass.
    """

    scale_gev: float
    particles: tuple[tuple[float, ...], ...]


def load_generator_library(name: str) -> Any:
    """Return the module `pythia8mc`, `fastjet` or `awkward`, in whose arrays Pythia gives events.

    Raises:
        MachineError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MachineError(_MISSING.format(name=name)) from error


def collide(
    class_name: str, settings: SimulationSettings, hard_seed: int, shower_seed: int
) -> Iterator[Particles]:
    """Yield the final particles of collisions without end, those that a detector can see.

    Args:
        class_name: one of CLASS_NAMES.
        settings: beams, phase space, masses, multiparton interactions.
        hard_seed: of the hard processes, in [1, 900 000 000].
        shower_seed: of all that follows, in the same range.

    Raises:
        MachineError: Pythia is not installed, or does not start or go on.
    """
    hard_processes = make_hard_processes(class_name, settings, hard_seed)
    feed = _feed(hard_processes, settings.beam_energy_gev)  # must live as long as the Pythia
    pythia = _started(
        class_name,
        shower_seed,
        "Beams:frameType = 5",  # events come from `_feed`
        f"PartonLevel:MPI = {'on' if settings.multiparton_interactions else 'off'}",
        *("23:onMode = off", "23:onIfAny = 1 2 3 4 5"),
        *("24:onMode = off", "24:onIfAny = 1 2 3 4 5"),
        feed=feed,
    )
    n_failures = 0
    while n_failures <= _MAX_FAILURES_IN_A_ROW:
        events = pythia.nextBatch(_COLLISIONS_PER_CALL, "skip").prt
        if len(events):
            n_failures = 0
            yield from _seen_particles(events)
        else:
            n_failures += _COLLISIONS_PER_CALL
    raise MachineError(
        f"Pythia 8 failed {n_failures} times in a row for class {class_name!r}; try another --seed"
    )


def make_hard_processes(
    class_name: str, settings: SimulationSettings, seed: int
) -> Iterator[HardProcess]:
    """Yield hard processes of a class without end.

    Raises:
        MachineError: Pythia is not installed, does not start, or finds no such process.
    """
    edges = [f"PhaseSpace:pTHatMin = {settings.parton_pt_min_gev}"]
    if class_name not in _NO_UPPER_EDGE:
        edges.append(f"PhaseSpace:pTHatMax = {settings.parton_pt_max_gev}")
    pythia = _started(
        class_name,
        seed,
        f"Beams:eCM = {settings.beam_energy_gev}",
        "PDF:pSet = 13",  # NNPDF2.3 LO QED, alpha_s 0.130: MadGraph's nn23lo1
        "PartonLevel:all = off",
        "ProcessLevel:resonanceDecays = off",
        *edges,
        *_masses(settings.on_shell),
        *PROCESSES[class_name],
    )
    n_tries = 0
    while n_tries < _MAX_TRIES:
        n_tries += 1
        if not pythia.next():
            continue
        record = pythia.process
        if all(abs(record[index].id()) in ORIGINS[class_name] for index in _OUTGOING):
            n_tries = 0
            yield HardProcess(
                scale_gev=record[_OUTGOING[0]].pT(),
                particles=(
                    *(_as_added(record[index], -1, (0, 0)) for index in _INCOMING),
                    *(_as_added(record[index], 1, (1, 2)) for index in _OUTGOING),
                ),
            )
    raise MachineError(
        f"Pythia 8 made no hard process of class {class_name!r} in {_MAX_TRIES} tries; try another"
        " --seed, or widen --parton-pt-min and --parton-pt-max"
    )


def _masses(on_shell: bool) -> Iterator[str]:
    """Yield the settings of the masses of W, Z and top in the hard process."""
    for number, mass in MASSES_GEV.items():
        yield f"{number}:m0 = {mass}"
        if on_shell:
            yield f"{number}:mMin = {mass - _HALF_WINDOW_GEV}"
            yield f"{number}:mMax = {mass + _HALF_WINDOW_GEV}"


def _as_added(particle: Any, status: int, mothers: tuple[int, int]) -> tuple[float, ...]:
    """Return what `addParticle` is called with."""
    momentum = (particle.px(), particle.py(), particle.pz(), particle.e(), particle.m())
    return (particle.id(), status, *mothers, particle.col(), particle.acol(), *momentum)


def _feed(hard_processes: Iterator[HardProcess], beam_energy_gev: float) -> Any:
    """Return what gives the second Pythia one hard process after another."""
    library = load_generator_library("pythia8mc")

    class Feed(library.LHAup):  # type: ignore[misc, name-defined]  # Pythia has no types
        """Pythia calls the two methods, whose names are its own."""

        def setInit(self) -> bool:  # noqa: N802
            self.setBeamA(2212, beam_energy_gev / 2)
            self.setBeamB(2212, beam_energy_gev / 2)
            self.setStrategy(3)  # all events have weight 1
            self.addProcess(1, 1.0, 0.0, 1.0)
            return True

        def setEvent(self, _process: int = 0) -> bool:  # noqa: N802
            hard_process = next(hard_processes)
            self.setProcess(1, 1.0, hard_process.scale_gev)
            for particle in hard_process.particles:
                self.addParticle(*particle)
            return True

    return Feed()


def _started(class_name: str, seed: int, *lines: str, feed: Any = None) -> Any:
    """Return a Pythia that is ready to make collisions, and silent."""
    library = load_generator_library("pythia8mc")
    pythia = library.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *lines):
        if not pythia.readString(line):
            raise MachineError(f"Pythia 8 refuses the setting {line!r}; is its version 8.317?")
    if feed is not None:
        pythia.setLHAupPtr(feed)
    if not pythia.init():
        raise MachineError(
            f"Pythia 8 does not start for class {class_name!r}; is its installation complete?"
        )
    return pythia


def _seen_particles(events: Any) -> Iterator[Particles]:
    """Yield of each event the final particles that a detector can see.

    Args:
        events: Pythia's particles [event, particle], an array of Awkward, of one event or more.
    """
    awkward = load_generator_library("awkward")
    n_particles, particles = np.asarray(awkward.num(events)), awkward.flatten(events)
    numbers, place = np.unique(np.abs(np.asarray(particles.id)), return_inverse=True)
    kinds = np.array([KINDS.get(number, _NOT_SEEN) for number in numbers.tolist()], np.int8)[place]
    seen = np.flatnonzero((np.asarray(particles.status) > 0) & (kinds != _NOT_SEEN))
    momenta = np.stack([np.asarray(particles.p[axis])[seen] for axis in _AXES], axis=1)
    ends = np.searchsorted(seen, np.cumsum(n_particles)[:-1])
    yield from map(Particles, np.split(kinds[seen], ends), np.split(momenta, ends))
