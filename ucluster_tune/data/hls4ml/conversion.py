"""From HLS4ML files to a parquet data set, whatever their size, in flat memory.

Each jet's split and place in it are random numbers of the seed, the name of its file and its row
there: they depend neither on the pieces in which files are read, nor on the selection.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from ucluster_tune.data.format.bounds import MASS_BOUNDS_GEV, MassCensus
from ucluster_tune.data.format.duplicates import JetCensus, jet_keys
from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES
from ucluster_tune.data.format.manifest import HLS4ML_SOURCE, Manifest
from ucluster_tune.data.format.schema import SPLITS, UNLABELLED, jets_table
from ucluster_tune.data.hls4ml.jets import (
    NO_CLASS,
    JetBlock,
    check_file,
    constituent_lists,
    is_absurd,
    read_blocks,
    value_fault,
)
from ucluster_tune.data.hls4ml.layout import (
    FEATURE_COLUMNS,
    JETS,
    refuse_unlabelled,
)
from ucluster_tune.data.hls4ml.mirror import count_jets, read_mirror
from ucluster_tune.data.hls4ml.sources import (
    Hdf5File,
    SourceFile,
    check_hdf5_files,
    find_source_files,
    hdf5_files,
)
from ucluster_tune.data.making.mixing import JetMixer, Keys
from ucluster_tune.data.making.writer import DatasetWriter
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError

DEFAULT_ROW_GROUP_SIZE: Final = 1024

_JETS_IN_MEMORY: Final = 16_384  # some 30 MB of features
_JETS_AT_A_TIME: Final = 2048
_SPLIT: Final = "split"
_NOT_FINITE: Final = "with values that are not finite"
_OUT_OF_BOUNDS: Final = "with values that no jet has"
_TWICE: Final = "that came before"
_N_NAMED: Final = 3
_SPLIT_STREAM, _ORDER_STREAM = 0, 1


@dataclass(frozen=True)
class ConversionSettings:
    """Which jets are converted, and how they are dealt to the splits.

    Attributes:
        selection: of jets by mass and class.
        fractions: of train, validation and test, with sum 1.
        seed: decides which jet goes where.
        max_bad_jets: jets with values that are not finite or absurd to leave out, before
            giving up.
    """

    selection: Selection
    fractions: Sequence[float]
    seed: int
    max_bad_jets: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that are kept; none where jets are taken without labels."""
        return CLASS_NAMES if self.selection.classes is None else self.selection.classes


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        manifest: of the data set.
        n_jets: read.
        left_out: reason to number of jets.
        remarks: what is strange about them, a sentence each.
    """

    manifest: Manifest
    n_jets: int
    left_out: dict[str, int]
    remarks: tuple[str, ...] = ()


def convert_dataset(
    source: Path,
    directory: Path,
    settings: ConversionSettings,
    *,
    command: str,
    origin: str | None = None,
    row_group_size: int = DEFAULT_ROW_GROUP_SIZE,
    on_size: Callable[[int], None] = lambda n_bytes: None,
    on_bytes: Callable[[int], None] = lambda n_bytes: None,
) -> Conversion:
    """Convert HLS4ML files to a data set in a new folder.

    Equal files and settings make equal data sets, whether the files lie in a folder or in
    archives.

    Args:
        source: an HDF5 file, a folder of them, their tar, or parquet files of the mirror.
        directory: a folder that does not exist or is empty.
        settings: which jets, and their splits.
        command: the command that is recorded.
        origin: where the files come from, such as a DOI; by default the name of `source`.
        row_group_size: jets in a row group.
        on_size: called once with the number of bytes that will be read.
        on_bytes: called with the number of bytes read since the last call.

    Raises:
        DataError: a file is damaged or no HLS4ML file, a value is not finite or absurd, or a split
            comes out empty.
        MachineError: no space, no permission.
    """
    files = find_source_files(source)
    on_size(sum(file.n_bytes for file in files))
    converter = _Converter(settings)
    with DatasetWriter(directory, row_group_size=row_group_size) as writer:
        check_hdf5_files(files, needs_classes=bool(settings.class_names))
        with writer.scratch() as scratch:
            _convert(files, converter, writer, scratch, on_bytes)
        if not converter.n_jets:
            raise DataError(
                f"{source}: {JETS} has no rows: there are no jets in it; download or copy the"
                " files again, or choose others"
            )
        _refuse_empty(writer, settings, converter)
        recorded: dict[str, JsonValue] = {
            **_recorded(settings),
            "row_group_size": row_group_size,
            "files": [{"name": f.path.name, "n_bytes": f.n_bytes} for f in files],
            "columns": dict(zip(FEATURE_NAMES, FEATURE_COLUMNS, strict=True)),
            "n_jets_read": converter.n_jets,
            "left_out": dict(converter.left_out),
        }
        manifest = writer.finish(
            name=directory.resolve().name,
            source=f"{HLS4ML_SOURCE}: {origin or source.resolve().name}",
            command=command,
            settings=recorded,
        )
    return Conversion(manifest, converter.n_jets, dict(converter.left_out), converter.remarks())


def _convert(
    files: tuple[SourceFile, ...],
    converter: "_Converter",
    writer: DatasetWriter,
    scratch: Path,
    on_bytes: Callable[[int], None],
) -> None:
    """Read, select, mix and write all jets."""
    member_folder, mixing_folder = scratch / "member", scratch / "mixing"
    member_folder.mkdir()
    mixing_folder.mkdir()
    with JetMixer(mixing_folder, _JETS_IN_MEMORY) as mixer:
        needs_classes = bool(converter.class_names)
        for file, block in _blocks(files, member_folder, on_bytes, needs_classes):
            converter.take(file, block, mixer)
        for table in mixer.tables():
            for index, split in enumerate(SPLITS):
                part = table.filter(pc.equal(table[_SPLIT], index))
                if part.num_rows:
                    writer.write(split, part.drop_columns([_SPLIT]))


def _recorded(settings: ConversionSettings) -> dict[str, JsonValue]:
    """Return the settings as plain JSON, which has no infinity."""
    selection = settings.selection
    bounds = (selection.mass_min_gev, selection.mass_max_gev)
    low, high = (value if np.isfinite(value) else None for value in bounds)
    return {
        "classes": list(settings.class_names),
        "mass_min_gev": low,
        "mass_max_gev": high,
        "fractions": list(settings.fractions),
        "seed": settings.seed,
        "max_bad_jets": settings.max_bad_jets,
    }


def _blocks(
    files: tuple[SourceFile, ...],
    scratch: Path,
    on_bytes: Callable[[int], None],
    needs_classes: bool,
) -> Iterator[tuple[Hdf5File, JetBlock]]:
    """Yield small blocks of all files; progress inside of a file is counted in its jets."""
    is_archive = files[0].is_archive
    if files[0].is_parquet:
        yield from _mirrored_blocks(files, on_bytes)
        return
    for file in hdf5_files(files, scratch, on_bytes):
        found = check_file(file.path, file.label)
        refuse_unlabelled(found, file.label, needs_classes=needs_classes)
        n_jets = found.n_jets
        n_bytes = 0 if is_archive else file.path.stat().st_size
        n_done = 0
        for block in read_blocks(file.path, file.label):
            yield from ((file, part) for part in block.parts(_JETS_AT_A_TIME))
            n_now = n_bytes * (block.start + len(block)) // n_jets
            on_bytes(n_now - n_done)
            n_done = n_now


def _mirrored_blocks(
    files: tuple[SourceFile, ...], on_bytes: Callable[[int], None]
) -> Iterator[tuple[Hdf5File, JetBlock]]:
    """Yield each file of the mirror in blocks of jets, as `_blocks` does those of HDF5."""
    for source in files:
        file = Hdf5File(source.path, source.path.name, str(source.path))
        n_jets, n_done = count_jets(file.path, file.label), 0
        for block in read_mirror(file.path, file.label):
            yield file, block
            n_now = source.n_bytes * (block.start + len(block)) // n_jets
            on_bytes(n_now - n_done)
            n_done = n_now


class _Converter:
    """Selects jets, draws their split and their place, and keeps count."""

    def __init__(self, settings: ConversionSettings) -> None:
        self.n_jets = 0
        self.class_names = settings.class_names
        self.masses = MassCensus()
        self.left_out: Counter[str] = Counter()
        self._settings = settings
        self._census = JetCensus()
        self._twice: Counter[str] = Counter()
        self._file: Hdf5File | None = None
        self._n_files: Counter[str] = Counter()

    def take(self, file: Hdf5File, block: JetBlock, mixer: JetMixer) -> None:
        """Hand the selected jets of a block to the mixer."""
        if file is not self._file:
            self._begin(file)
        self.n_jets += len(block)
        split, keys = self._draw(len(block))
        is_kept = self._is_selected(block)
        counts, features = constituent_lists(block.columns[is_kept])
        rows = np.flatnonzero(is_kept)
        is_good = self._is_good(file, block.start + rows, block.mass_gev[rows], counts, features)
        is_good &= self._are_new(file, block.mass_gev[rows], counts, features, is_good)
        rows = rows[is_good]
        names = np.array(CLASS_NAMES)[block.class_index[rows]].tolist()
        table = jets_table(
            names if self.class_names else [None] * len(rows),
            block.mass_gev[rows],
            counts[is_good],
            features[np.repeat(is_good, counts)],
        )
        mixer.add(table.append_column(_SPLIT, pa.array(split[rows])), keys[rows])

    def _begin(self, file: Hdf5File) -> None:
        """Start the random numbers of a file: those of its name, not of its place."""
        self._file = file
        # Files of one name in different folders get different numbers.
        name = f"{file.name}\0{self._n_files[file.name]}"
        self._n_files[file.name] += 1
        words = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint32).tolist()
        seeds = [
            np.random.SeedSequence(self._settings.seed, spawn_key=(stream, *words))
            for stream in (_SPLIT_STREAM, _ORDER_STREAM)
        ]
        self._splits, self._order = (np.random.PCG64(seed) for seed in seeds)

    def _draw(self, n_jets: int) -> tuple[npt.NDArray[np.int8], Keys]:
        """Return the split and the key of the next jets; raw numbers never change with NumPy."""
        uniform = (self._splits.random_raw(n_jets) >> np.uint64(11)) * 2.0**-53
        borders = np.cumsum(self._settings.fractions)[:-1]
        split = np.searchsorted(borders, uniform, side="right").astype(np.int8)
        return split, np.asarray(self._order.random_raw(n_jets), np.uint64)

    def _is_selected(self, block: JetBlock) -> npt.NDArray[np.bool_]:
        selection, mass = self._settings.selection, block.mass_gev
        is_wanted = selection.in_classes(block.class_index)
        # A mass that is NaN is selected, to be found bad.
        is_outside = ~selection.in_window(mass) & np.isfinite(mass)
        is_kept: npt.NDArray[np.bool_] = is_wanted & ~is_outside
        is_unlabelled = (block.class_index == NO_CLASS) & ~is_wanted
        self._leave_out("without a class", int(is_unlabelled.sum()))
        self._leave_out("of another class", int((~is_wanted & ~is_unlabelled).sum()))
        self._leave_out("outside the mass range", int((is_wanted & is_outside).sum()))
        return is_kept

    def _is_good(
        self,
        file: Hdf5File,
        numbers: npt.NDArray[np.int64],
        mass_gev: npt.NDArray[np.float32],
        counts: npt.NDArray[np.int64],
        features: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.bool_]:
        """Return which of the selected jets, with these numbers in the file, can be used."""
        jet = np.repeat(np.arange(len(counts)), counts)
        is_bad = MASS_BOUNDS_GEV.outside(mass_gev)
        is_bad[jet[is_absurd(features).any(axis=1)]] = True
        is_finite = np.isfinite(mass_gev)
        is_finite[jet[~np.isfinite(features).all(axis=1)]] = False
        is_empty = (counts == 0) & ~is_bad
        self._leave_out("without constituents", int(is_empty.sum()))
        self._leave_out(_NOT_FINITE, int((~is_finite).sum()))
        self._leave_out(_OUT_OF_BOUNDS, int((is_bad & is_finite).sum()))
        n_bad = self.left_out[_NOT_FINITE] + self.left_out[_OUT_OF_BOUNDS]
        if n_bad > self._settings.max_bad_jets:
            first = int(np.flatnonzero(is_bad)[0])
            raise DataError(
                f"{file.label}: jet {numbers[first]} has"
                f" {value_fault(features[jet == first], float(mass_gev[first]))};"
                " download or copy the file again, or leave such jets out with"
                " `ucluster-tune data convert --max-bad-jets N`"
            )
        self.masses.take(mass_gev[~is_bad & ~is_empty])
        is_good: npt.NDArray[np.bool_] = ~is_bad & ~is_empty
        return is_good

    def _are_new(
        self,
        file: Hdf5File,
        mass_gev: npt.NDArray[np.float32],
        counts: npt.NDArray[np.int64],
        features: npt.NDArray[np.float32],
        is_good: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Return which of the jets that can be used did not come before, in whatever file."""
        are_new = is_good.copy()
        keys = jet_keys(mass_gev, np.cumsum(counts) - counts, counts, features)
        are_new[is_good] = self._census.are_new(keys[is_good])
        n_twice = int((is_good & ~are_new).sum())
        self._leave_out(_TWICE, n_twice)
        if n_twice:
            self._twice[file.label] += n_twice
        return are_new

    def remarks(self) -> tuple[str, ...]:
        """Return what the user should know of the jets, a sentence each."""
        n_twice = self.left_out[_TWICE]
        if not n_twice:
            return self.masses.remarks()
        files = ", ".join(f"{label} ({n})" for label, n in self._twice.most_common(_N_NAMED))
        more = f" and {len(self._twice) - _N_NAMED} more" if len(self._twice) > _N_NAMED else ""
        twice = f"{n_twice} jets came before in these files and are left out: {files}{more}"
        return (*self.masses.remarks(), twice)

    def _leave_out(self, reason: str, n_jets: int) -> None:
        if n_jets:
            self.left_out[reason] += n_jets


def _refuse_empty(
    writer: DatasetWriter, settings: ConversionSettings, converter: _Converter
) -> None:
    read = f"{converter.n_jets} jets were read"
    if converter.left_out:
        reasons = [f"{n} {reason}" for reason, n in converter.left_out.items()]
        read += f", {', '.join(reasons)}"
    for name in settings.class_names or (UNLABELLED,):
        what, others = (
            (f"jets of class {name}", "name other classes (--classes, data.classes), ")
            if settings.class_names
            else ("jets", "")
        )
        for split, fraction in zip(SPLITS, settings.fractions, strict=True):
            if fraction > 0 and not writer.counts(split).get(name):
                raise DataError(
                    f"no {split} {what}: {read}; {others}widen the mass range, give that split a"
                    " larger share (--fractions), or convert more files"
                )
