"""Blocks of jets, each with a seed of its own, made in one or several processes.

A block depends on seed, class, index and settings alone; so do the jets, whatever the number of
processes.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import CLASS_NAMES, constituent_features, jet_masses
from ucluster_tune.data.simulation.collisions import collide
from ucluster_tune.data.simulation.emulation import emulate
from ucluster_tune.data.simulation.jets import Jet, JetFinder
from ucluster_tune.data.simulation.settings import SimulationSettings
from ucluster_tune.errors import DataError, MachineError

JETS_PER_BLOCK: Final = 1000
"""Starting both Pythias takes a second, a block some 20."""

FLOAT32_BITS: Final = 24
"""Significant bits of a float32."""

_MAX_COLLISIONS_PER_JET: Final = 50
_PYTHIA_SEEDS: Final = 900_000_000  # from 1 to here, says Pythia


@dataclass(frozen=True)
class BlockRequest:
    """All that a block of jets depends on."""

    class_name: str
    index: int
    n_jets: int
    seed: int
    settings: SimulationSettings


@dataclass(frozen=True)
class JetBlock:
    """Jets of one class.

    Attributes:
        class_name: one of CLASS_NAMES.
        mass_gev: float32 [jet].
        multiplicity: int64 [jet], all constituents.
        n_constituents: int64 [jet], the stored ones.
        features: float32 [constituent, feature], jet after jet.
    """

    class_name: str
    mass_gev: npt.NDArray[np.float32]
    multiplicity: npt.NDArray[np.int64]
    n_constituents: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]


def plan_blocks(
    classes: Sequence[str], jets_per_class: int, seed: int, settings: SimulationSettings
) -> list[BlockRequest]:
    """Return the blocks of all classes, class after class; more jets only add blocks."""
    return [
        BlockRequest(
            class_name=name,
            index=start // JETS_PER_BLOCK,
            n_jets=min(JETS_PER_BLOCK, jets_per_class - start),
            seed=seed,
            settings=settings,
        )
        for name in classes
        for start in range(0, jets_per_class, JETS_PER_BLOCK)
    ]


def make_block(request: BlockRequest) -> JetBlock:
    """Simulate the jets of a block.

    Raises:
        DataError: the settings leave next to no jets.
        MachineError: Pythia or FastJet is missing or fails.
    """
    class_number = CLASS_NAMES.index(request.class_name)
    seeds = np.random.SeedSequence(request.seed, spawn_key=(class_number, request.index))
    hard_seed, shower_seed, detector_seed = seeds.spawn(3)
    settings, detector = request.settings, np.random.default_rng(detector_seed)
    finder = JetFinder(settings)
    jets: list[Jet] = []
    collisions = collide(
        request.class_name, settings, _pythia_seed(hard_seed), _pythia_seed(shower_seed)
    )
    for n_collisions, particles in enumerate(collisions, start=1):
        momenta = particles.momenta
        if settings.emulation:
            momenta = emulate(
                particles,
                settings.detector,
                max_abs_eta=settings.max_abs_eta,
                smearing_scale=settings.smearing_scale,
                generator=detector,
            )
        jet = finder.find(momenta)
        if jet is not None and len(jet.constituents):
            jets.append(jet)
        if len(jets) == request.n_jets:
            break
        if n_collisions > _MAX_COLLISIONS_PER_JET * request.n_jets:
            raise DataError(
                f"only {len(jets)} jets of class {request.class_name!r} in {n_collisions}"
                " collisions: the settings leave next to nothing; lower --min-pt, or raise"
                " --parton-pt-min or --radius"
            )
    return _block_of(request.class_name, jets, settings.significant_bits)


def _pythia_seed(seeds: np.random.SeedSequence) -> int:
    return 1 + int(seeds.generate_state(1, np.uint64)[0]) % _PYTHIA_SEEDS


def _block_of(class_name: str, jets: Sequence[Jet], significant_bits: int) -> JetBlock:
    momenta = np.stack([jet.momentum for jet in jets])
    n_constituents = np.array([len(jet.constituents) for jet in jets], dtype=np.int64)
    features = constituent_features(
        np.concatenate([jet.constituents for jet in jets]), momenta, n_constituents
    )
    return JetBlock(
        class_name=class_name,
        mass_gev=jet_masses(momenta).astype(np.float32),
        multiplicity=np.array([jet.multiplicity for jet in jets], dtype=np.int64),
        n_constituents=n_constituents,
        features=round_significand(features, significant_bits),
    )


def make_blocks(
    requests: Sequence[BlockRequest], n_processes: int, on_jets: Callable[[int], None]
) -> list[JetBlock]:
    """Simulate blocks in this process, or in several others; the result is in order.

    Args:
        requests: the blocks.
        n_processes: 1 for this process alone.
        on_jets: called with the number of jets of each block that is done.
    """
    blocks = []
    for block in _done_blocks(requests, min(n_processes, len(requests))):
        on_jets(len(block.mass_gev))
        blocks.append(block)
    return blocks


def _done_blocks(requests: Sequence[BlockRequest], n_processes: int) -> Iterator[JetBlock]:
    if n_processes <= 1:
        yield from map(make_block, requests)
        return
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        n_processes, mp_context=multiprocessing.get_context("spawn"), initializer=_enter_worker
    )
    try:
        with _ctrl_c_blocked():  # workers, started here, inherit it and leave Ctrl-C to us
            results = executor.map(make_block, requests)
        yield from results
    except BaseException as error:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()  # nobody waits for the blocks that are under way
        if isinstance(error, BrokenProcessPool):
            raise MachineError(
                "a simulating process died, perhaps for lack of memory; try fewer --processes"
            ) from error
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _enter_worker() -> None:
    """Make a worker end when its parent is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def round_significand(
    values: npt.NDArray[np.float32], significant_bits: int
) -> npt.NDArray[np.float32]:
    """Return finite float32 values, rounded to so many significant bits, from 2 to 24.

    >>> round_significand(np.array([3.14159265], dtype=np.float32), 8).tolist()
    [3.140625]
    """
    dropped = FLOAT32_BITS - significant_bits
    if dropped == 0:
        return values.copy()
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32(1 << (dropped - 1))
    mask = np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    return ((bits + half) & mask).view(np.float32)
