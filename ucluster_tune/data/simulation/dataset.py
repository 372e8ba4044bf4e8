"""From a request to a data set on disk: simulate, split, write."""

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from ucluster_tune.data.format.manifest import Manifest
from ucluster_tune.data.making.writer import check_target, write_dataset
from ucluster_tune.data.simulation.blocks import (
    JETS_PER_BLOCK,
    JetBlock,
    make_blocks,
    plan_blocks,
)
from ucluster_tune.data.simulation.collisions import PROCESSES, load_generator_library
from ucluster_tune.data.simulation.settings import SimulationSettings
from ucluster_tune.data.simulation.splits import split_tables

_BYTES_PER_JET: Final = 1300  # without rounding; 800 with 12 significant bits


def simulate_dataset(
    directory: Path,
    *,
    classes: Sequence[str],
    jets_per_class: int,
    seed: int,
    settings: SimulationSettings,
    fractions: Sequence[float],
    row_group_size: int,
    n_processes: int,
    command: str,
    on_jets: Callable[[int], None],
) -> Manifest:
    """Simulate a data set, write it to a new folder and return its manifest.

    Equal arguments make equal files, whatever `n_processes` is.

    Raises:
        DataError: the folder is in use, or the settings leave next to no jets.
        MachineError: Pythia or FastJet is missing or fails, or the folder cannot be written to.
    """
    source = _source()
    check_target(directory, _BYTES_PER_JET * len(classes) * jets_per_class)
    requests = plan_blocks(classes, jets_per_class, seed, settings)
    blocks = make_blocks(requests, n_processes, on_jets)
    recorded: dict[str, JsonValue] = {
        "seed": seed,
        "jets_per_class": jets_per_class,
        "jets_per_block": JETS_PER_BLOCK,
        "fractions": list(fractions),
        "row_group_size": row_group_size,
        "processes": {name: list(PROCESSES[name]) for name in classes},
        "mean_multiplicity": _mean_multiplicity(blocks),
        **settings.as_dict(),
    }
    return write_dataset(
        directory,
        split_tables(blocks, fractions, seed),
        name=directory.resolve().name,
        source=source,
        command=command,
        settings=recorded,
        row_group_size=row_group_size,
    )


def _mean_multiplicity(blocks: Sequence[JetBlock]) -> dict[str, JsonValue]:
    """Return the mean number of all constituents by class, of which only some are stored."""
    found: dict[str, list[npt.NDArray[np.int64]]] = {}
    for block in blocks:
        found.setdefault(block.class_name, []).append(block.multiplicity)
    return {name: round(float(np.concatenate(n).mean()), 2) for name, n in found.items()}


def _source() -> str:
    """Return generator and jet finder with their versions; raise if one is not installed."""
    for library in ("pythia8mc", "fastjet"):
        load_generator_library(library)
    return f"Pythia {_version('pythia8mc')}, FastJet {_version('fastjet')}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"
