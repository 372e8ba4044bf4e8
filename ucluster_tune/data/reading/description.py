"""What is in a data set: numbers and histograms, read piece by piece in flat memory."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ucluster_tune.data.format.bounds import MassCensus
from ucluster_tune.data.format.duplicates import JetCensus, in_two_splits, jet_keys
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES, MAX_CONSTITUENTS
from ucluster_tune.data.format.manifest import Manifest, ManifestFile, read_manifest, verify_files
from ucluster_tune.data.format.parquet_files import (
    JetFile,
    check_lists,
    check_masses,
    class_index,
    flat,
    refuse_unknown_classes,
    tables_of,
)
from ucluster_tune.data.format.schema import MASS_GEV, SPLITS, UNLABELLED
from ucluster_tune.errors import DataError
from ucluster_tune.storage.locations import Location, locate

Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
N_CONSTITUENTS: Final = "n_constituents"
SPECTRA: Final = (MASS_GEV, N_CONSTITUENTS, *FEATURE_NAMES)

_KEYS: Final = (*CLASS_NAMES, UNLABELLED)
_MASS_BIN_GEV: Final = 0.1
_N_MASS_BINS: Final = 20_000  # up to 2 TeV; heavier jets go to the last one
_N_SPECTRUM_BINS: Final = 60
_N_SAMPLED_ROW_GROUPS: Final = 16
_MAX_SAMPLED_JETS: Final = 4096


@dataclass(frozen=True)
class SplitDescription:
    """One split.

    Attributes:
        n_files: parquet files.
        n_row_groups: in all of them.
        n_bytes: of all of them.
        jets: class, or UNLABELLED, to number of jets.
    """

    n_files: int
    n_row_groups: int
    n_bytes: int
    jets: dict[str, int]


@dataclass(frozen=True)
class Spectrum:
    """A histogram of one quantity.

    Attributes:
        edges: float64 [bin + 1].
        counts: class to int64 [bin]; values outside of the edges are not in it.
    """

    edges: Floats
    counts: dict[str, Counts]


@dataclass(frozen=True)
class DatasetDescription:
    """A data set as found.

    Attributes:
        path: its folder.
        manifest: as read.
        faults: what is wrong, one line each; with any, nothing below is known.
        remarks: what is allowed and yet strange, one line each.
        splits: by name.
        mass_gev: class to quantiles, by name of the quantile; exact to 0.1 GeV.
        n_constituents: the same of the number of constituents, exact.
        features: name to `min`, `mean` and `max` over all constituents.
        spectra: quantity to its histogram, where these were asked for.
    """

    path: Location
    manifest: Manifest
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    splits: dict[str, SplitDescription] = field(default_factory=dict)
    mass_gev: dict[str, dict[str, float]] = field(default_factory=dict)
    n_constituents: dict[str, dict[str, float]] = field(default_factory=dict)
    features: dict[str, dict[str, float]] = field(default_factory=dict)
    spectra: dict[str, Spectrum] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Size of all parquet files, as the manifest has it."""
        return sum(file.n_bytes for file in self.manifest.files)


def describe_dataset(
    place: Path | str | Location,
    *,
    with_spectra: bool = False,
    on_bytes: Callable[[int], None] = lambda n: None,
) -> DatasetDescription:
    """Check all files of a data set against its manifest, then read all jets.

    Faults of files are collected; a data set with any is not described further.

    Args:
        place: folder of the data set, or its URI; a remote one is fetched twice.
        with_spectra: also make histograms.
        on_bytes: called with a file's size when it was checked, and when it was read.

    Raises:
        DataError: there is no data set.
    """
    folder = locate(place)
    manifest = read_manifest(folder)
    faults: list[str] = []
    for file in manifest.files:
        try:
            verify_files(folder, manifest.model_copy(update={"files": (file,)}))
        except DataError as error:
            faults.append(str(error))
        on_bytes(file.n_bytes)
    if faults:
        return DatasetDescription(folder, manifest, tuple(faults))
    census = _Census()
    try:
        if with_spectra:
            census.spectra = _empty_spectra(folder, manifest)
        splits = {}
        for split in SPLITS:
            files = manifest.split_files(split)
            if files:
                census.jets[split] = JetCensus()
                splits[split] = _read_split(folder, split, files, census, on_bytes)
    except DataError as error:
        return DatasetDescription(folder, manifest, (str(error),))
    twice = (f"{folder}: {fault}" for fault in in_two_splits(census.jets))
    faults = [*_count_faults(folder, manifest, splits), *twice]
    return DatasetDescription(
        folder,
        manifest,
        tuple(faults),
        remarks=census.remarks(),
        splits=splits,
        mass_gev=census.mass_quantiles(),
        n_constituents=census.multiplicity_quantiles(),
        features=census.feature_ranges(),
        spectra=census.spectra,
    )


def _read_split(
    folder: Location,
    split: str,
    files: Sequence[ManifestFile],
    census: "_Census",
    on_bytes: Callable[[int], None],
) -> SplitDescription:
    jets = np.zeros(len(_KEYS), np.int64)
    n_row_groups = 0
    for file in files:
        for _, start, table in _batches(JetFile(folder / file.path, file.n_bytes)):
            jets += census.take(split, table)
            n_row_groups += start == 0
        on_bytes(file.n_bytes)
    return SplitDescription(
        n_files=len(files),
        n_row_groups=n_row_groups,
        n_bytes=sum(file.n_bytes for file in files),
        jets={key: int(n) for key, n in zip(_KEYS, jets, strict=True) if n},
    )


def _batches(
    jet_file: JetFile, chosen: Sequence[int] | None = None
) -> Iterator[tuple[int, int, pa.Table]]:
    """Yield some thousand jets at a time, checked: row group, first row in it, table."""
    with jet_file.opened() as file:
        for index in range(file.num_row_groups) if chosen is None else chosen:
            where = f"{jet_file}, row group {index}"
            for start, table in tables_of(file, index):
                check_masses(table[MASS_GEV].to_numpy(), where, start)
                refuse_unknown_classes(table, where)
                check_lists(table, where, start + np.arange(len(table)))
                yield index, start, table


def _count_faults(
    folder: Location, manifest: Manifest, splits: dict[str, SplitDescription]
) -> Iterator[str]:
    for split, found in splits.items():
        told = {key: n for key, n in manifest.counts.get(split, {}).items() if n}
        counted = {key: n for key, n in found.jets.items() if key != UNLABELLED}
        if told != counted:
            yield f"{folder}: {split} has jets {counted}, the manifest says {told}"


class _Census:
    """Counts of all that was read, in arrays whose size is known beforehand."""

    def __init__(self) -> None:
        self.spectra: dict[str, Spectrum] = {}
        self.masses = MassCensus()
        self.jets: dict[str, JetCensus] = {}
        self._n_twice: Counter[str] = Counter()
        self._mass = np.zeros((len(_KEYS), _N_MASS_BINS), np.int64)
        self._mass_ends = np.tile([np.inf, -np.inf], (len(_KEYS), 1))
        self._multiplicity = np.zeros((len(_KEYS), MAX_CONSTITUENTS + 1), np.int64)
        self._feature_ends = np.tile([np.inf, -np.inf], (len(FEATURE_NAMES), 1))
        self._feature_sums = np.zeros(len(FEATURE_NAMES))
        self._n_constituents = 0

    def remarks(self) -> tuple[str, ...]:
        """Return what is allowed and yet strange, a sentence each."""
        twice = (f"{n} {split} jets are there twice" for split, n in self._n_twice.items() if n)
        return (*self.masses.remarks(), *twice)

    def take(self, split: str, table: pa.Table) -> Counts:
        """Count the jets of a table of a split; return their number by class: int64 [class]."""
        key = class_index(table, CLASS_NAMES)
        key[key < 0] = len(CLASS_NAMES)
        values = _values(table)
        mass, counts = values[MASS_GEV], values[N_CONSTITUENTS].astype(np.int64)
        self.masses.take(mass)
        features = np.stack([values[name] for name in FEATURE_NAMES], axis=1)
        keys = jet_keys(mass, np.cumsum(counts) - counts, counts, features)
        self._n_twice[split] += int((~self.jets[split].are_new(keys)).sum())
        bins = np.clip(mass / _MASS_BIN_GEV, 0, _N_MASS_BINS - 1).astype(np.int64)
        np.add.at(self._mass, (key, bins), 1)
        np.minimum.at(self._mass_ends[:, 0], key, mass)
        np.maximum.at(self._mass_ends[:, 1], key, mass)
        np.add.at(self._multiplicity, (key, counts), 1)
        for number, name in enumerate(FEATURE_NAMES):
            self._feature_ends[number, 0] = min(self._feature_ends[number, 0], values[name].min())
            self._feature_ends[number, 1] = max(self._feature_ends[number, 1], values[name].max())
            self._feature_sums[number] += values[name].sum(dtype=np.float64)
        self._n_constituents += int(counts.sum())
        for name, spectrum in self.spectra.items():
            owner = np.repeat(key, counts) if name in FEATURE_NAMES else key
            for number in np.unique(key).tolist():
                found, _ = np.histogram(values[name][owner == number], spectrum.edges)
                kept = spectrum.counts.setdefault(_KEYS[number], np.zeros_like(found, np.int64))
                kept += found
        return np.bincount(key, minlength=len(_KEYS))

    def mass_quantiles(self) -> dict[str, dict[str, float]]:
        """Return quantiles of the mass by class; ends are exact."""
        edges = np.arange(_N_MASS_BINS + 1) * _MASS_BIN_GEV
        found = {}
        for number in np.flatnonzero(self._mass.sum(axis=1)).tolist():
            low, high = self._mass_ends[number].tolist()
            cumulated = np.concatenate([[0], np.cumsum(self._mass[number])])
            inner = np.interp(np.array(QUANTILES) * cumulated[-1], cumulated, edges)
            found[_KEYS[number]] = _named(low, np.clip(inner, low, high), high)
        return found

    def multiplicity_quantiles(self) -> dict[str, dict[str, float]]:
        """Return quantiles, by class, of the number of constituents that enough jets keep to."""
        found = {}
        for number in np.flatnonzero(self._multiplicity.sum(axis=1)).tolist():
            counts = self._multiplicity[number]
            there = np.flatnonzero(counts)
            cumulated = np.cumsum(counts)
            inner = np.searchsorted(cumulated, np.array(QUANTILES) * cumulated[-1])
            found[_KEYS[number]] = _named(int(there[0]), inner, int(there[-1]))
        return found

    def feature_ranges(self) -> dict[str, dict[str, float]]:
        """Least, mean and largest value of each feature."""
        return {
            name: {
                "min": float(self._feature_ends[number, 0]),
                "mean": float(self._feature_sums[number] / self._n_constituents),
                "max": float(self._feature_ends[number, 1]),
            }
            for number, name in enumerate(FEATURE_NAMES)
            if self._n_constituents
        }


def _named(low: float, inner: npt.NDArray[Any], high: float) -> dict[str, float]:
    names = [f"q{round(100 * q):02d}" for q in QUANTILES]
    return {"min": low, **dict(zip(names, inner.tolist(), strict=True)), "max": high}


def _values(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    return {
        MASS_GEV: table[MASS_GEV].to_numpy(),
        N_CONSTITUENTS: pc.list_value_length(table[FEATURE_NAMES[0]]).to_numpy(),
        **{name: flat(table[name]) for name in FEATURE_NAMES},
    }


def _empty_spectra(folder: Location, manifest: Manifest) -> dict[str, Spectrum]:
    """Return histograms without counts, whose ends leave out one value in a thousand.

    The ends are those of some row groups of each split.
    """
    sampled: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in SPECTRA}
    files = [file for split in SPLITS for file in manifest.split_files(split)]
    for file in files[:: max(1, len(files) // _N_SAMPLED_ROW_GROUPS)]:
        steps = max(1, file.n_row_groups // 4)
        jet_file = JetFile(folder / file.path, file.n_bytes)
        for _, start, table in _batches(jet_file, range(0, file.n_row_groups, steps)):
            if start < _MAX_SAMPLED_JETS:  # of each row group
                for name, values in _values(table).items():
                    sampled[name].append(values)
    spectra = {}
    for name, parts in sampled.items():
        low, high = np.quantile(np.concatenate(parts).astype(np.float64), [0.0005, 0.9995])
        edges = np.linspace(low, high if high > low else low + 1, _N_SPECTRUM_BINS + 1)
        if name == N_CONSTITUENTS:
            edges = np.arange(int(low), int(high) + 2) - 0.5
        spectra[name] = Spectrum(edges, {})
    return spectra
