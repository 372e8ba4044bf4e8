"""Reading a parquet data set: what it holds after the selection, and each rank's share of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.features import CLASS_NAMES, FEATURE_NAMES, MAX_CONSTITUENTS
from ucluster_tune.data.manifest import Manifest, read_manifest, verify_files
from ucluster_tune.data.packed import FloatArray, IntArray, PackedJets, pack_lists
from ucluster_tune.data.schema import (
    FORMAT_KEY,
    FORMAT_VERSION,
    JET_CLASS,
    MASS_GEV,
    MAX_ROW_GROUP_SIZE,
    SPLITS,
    jets_schema,
)
from ucluster_tune.data.sharding import share_row_groups
from ucluster_tune.errors import DataError

_MEND = "copy the data set again from where it came, or make it again"


@dataclass(frozen=True)
class RowGroup:
    """One row group of one file, and how many of its jets pass the selection, by class."""

    path: Path
    index: int
    n_selected: dict[str, int]

    @property
    def n_jets(self) -> int:
        """Jets that pass the selection."""
        return sum(self.n_selected.values())


@dataclass(frozen=True)
class JetDataset:
    """A data set whose files were looked at, with a selection of its jets.

    Attributes:
        config: path and selection.
        manifest: as read.
        class_names: classes that are kept, in the order of their indices.
        row_groups: by split.
    """

    config: DataConfig
    manifest: Manifest
    class_names: tuple[str, ...]
    row_groups: dict[str, tuple[RowGroup, ...]]

    def n_jets(self, split: str) -> int:
        """Jets of `split` that pass the selection."""
        return sum(group.n_jets for group in self.row_groups[split])

    def counts(self, split: str) -> dict[str, int]:
        """Jets of `split` that pass the selection, by class."""
        groups = self.row_groups[split]
        return {name: sum(g.n_selected[name] for g in groups) for name in self.class_names}

    def n_jets_by_rank(self, split: str, world_size: int) -> list[int]:
        """Jets of each rank's share of `split`."""
        shares = share_row_groups([g.n_jets for g in self.row_groups[split]], world_size)
        return [sum(piece.n_jets for piece in share) for share in shares]

    def read_share(self, split: str, rank: int = 0, world_size: int = 1) -> PackedJets:
        """Return the jets of one rank's row groups that pass the selection.

        Raises:
            DataError: a value is not finite, or a file changed since it was opened.
        """
        groups = self.row_groups[split]
        share = share_row_groups([g.n_jets for g in groups], world_size)[rank]
        tables = [
            self._read_selected(groups[piece.row_group]).slice(piece.start, piece.n_jets)
            for piece in share
        ]
        return pack_table(pa.concat_tables(tables), self.class_names)

    def read_masses(self, split: str) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of all selected jets of `split`, and no features."""
        masses, classes = [], []
        for group in self.row_groups[split]:
            with reading(group.path), pq.ParquetFile(group.path) as file:
                table = file.read_row_group(group.index, [JET_CLASS, MASS_GEV])
            table = table.filter(_selection(table, self.config, self.class_names))
            masses.append(table[MASS_GEV].to_numpy())
            classes.append(class_index(table, self.class_names))
        return np.concatenate(masses), np.concatenate(classes)

    def check_values(self) -> None:
        """Read everything once, so that a bad value is found before the first trial.

        Raises:
            DataError: naming file, row group and column.
        """
        for split in SPLITS:
            for group in self.row_groups[split]:
                self._read_selected(group)

    def _read_selected(self, group: RowGroup) -> pa.Table:
        """Return the selected jets of a row group, checked."""
        with reading(group.path), pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.index, [JET_CLASS, MASS_GEV, *FEATURE_NAMES])
        table = table.filter(_selection(table, self.config, self.class_names))
        check_lists(table, f"{group.path}, row group {group.index}")
        return table


def open_dataset(config: DataConfig) -> JetDataset:
    """Return the data set at `config.path`, its files and columns checked, jets selected.

    Reads classes and masses of all jets, and no features.

    Raises:
        DataError: something is missing, cut short, of a newer format, of an unknown shape, or no
            jet of a class is left.
    """
    folder = Path(config.path)
    manifest = read_manifest(folder)
    class_names = _kept_classes(config, manifest, folder)
    row_groups = {
        split: tuple(
            group
            for file in manifest.split_files(split)
            for group in _scan_file(folder / file.path, file.n_bytes, config, class_names)
        )
        for split in SPLITS
    }
    dataset = JetDataset(config, manifest, class_names, row_groups)
    for split in SPLITS:
        _refuse_empty(dataset, split)
    return dataset


def open_checked_dataset(config: DataConfig, world_size: int) -> JetDataset:
    """Return the same, once every file and every value was looked at.

    Raises:
        DataError: as `open_dataset`; or a file was altered, a value is not finite, or there are
            too few jets for `world_size` ranks.
    """
    dataset = open_dataset(config)
    verify_files(config.path, dataset.manifest)
    dataset.check_values()
    for split in SPLITS:
        dataset.n_jets_by_rank(split, world_size)
    return dataset


def check_lists(table: pa.Table, where: str) -> None:
    """Refuse lists of constituents that are empty, too long, unequal or not finite.

    Raises:
        DataError: naming `where` the table comes from, and the column.
    """
    counts = pc.list_value_length(table[FEATURE_NAMES[0]])
    n_without = len(counts) - int(np.count_nonzero(counts.fill_null(0)))
    if n_without:
        raise DataError(f"{where}: {n_without} jets have no constituents; {_MEND}")
    longest = pc.max(counts).as_py() or 0
    if longest > MAX_CONSTITUENTS:
        raise DataError(
            f"{where}: a jet has {longest} constituents, the format allows"
            f" {MAX_CONSTITUENTS}; {_MEND}"
        )
    for name in FEATURE_NAMES:
        if pc.list_value_length(table[name]) != counts:
            raise DataError(
                f"{where}: columns {FEATURE_NAMES[0]} and {name} list different numbers of"
                f" constituents for a jet; {_MEND}"
            )
        values = flat(table[name])
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        if n_bad:
            raise DataError(f"{where}, column {name}: {n_bad} values are NaN or infinite; {_MEND}")


def _kept_classes(config: DataConfig, manifest: Manifest, folder: Path) -> tuple[str, ...]:
    wanted = config.classes if config.classes is not None else manifest.classes
    absent = [name for name in wanted if name not in manifest.classes]
    if absent:
        raise DataError(
            f"{folder}: has no jets of class {', '.join(absent)};"
            f" data.classes can name {', '.join(manifest.classes)}"
        )
    return tuple(name for name in CLASS_NAMES if name in wanted)


def _scan_file(
    path: Path, n_bytes: int, config: DataConfig, class_names: Sequence[str]
) -> Iterator[RowGroup]:
    with reading(path):
        found = path.stat().st_size
        if found != n_bytes:
            raise DataError(
                f"{path}: has {found} bytes, the manifest says {n_bytes}: it was cut short or"
                f" changed; {_MEND}"
            )
        with pq.ParquetFile(path) as file:
            check_parquet(path, file)
            for index in range(file.num_row_groups):
                table = file.read_row_group(index, [JET_CLASS, MASS_GEV])
                yield RowGroup(path, index, _count_selected(path, table, config, class_names))


def check_parquet(path: Path, file: pq.ParquetFile) -> None:
    """Refuse a file of which nothing should be read.

    Raises:
        DataError: a column is missing or of another type, the format is newer, or a row group
            declares more values than it may have: repeated ones take next to no bytes in a file,
            and all their room in memory.
    """
    _check_columns(path, file.schema_arrow)
    for index in range(file.num_row_groups):
        group = file.metadata.row_group(index)
        most = max(group.column(column).num_values for column in range(group.num_columns))
        if group.num_rows > MAX_ROW_GROUP_SIZE or most > group.num_rows * MAX_CONSTITUENTS:
            raise DataError(
                f"{path}, row group {index}: {group.num_rows} jets with {most} values in a column;"
                f" the format allows {MAX_ROW_GROUP_SIZE} jets in a row group and"
                f" {MAX_CONSTITUENTS} constituents in a jet; {_MEND}"
            )


def _check_columns(path: Path, schema: pa.Schema) -> None:
    version = (schema.metadata or {}).get(FORMAT_KEY, b"1")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {version.decode(errors='replace')} is newer than"
            f" {FORMAT_VERSION}, the newest that this version of ucluster-tune reads;"
            " upgrade ucluster-tune"
        )
    for field in jets_schema():
        index = schema.get_field_index(field.name)
        if index < 0:
            raise DataError(
                f"{path}: no column {field.name}; it has {', '.join(schema.names)}; {_MEND}"
            )
        found = schema.field(index).type
        if not _same_kind(found, field.type):
            raise DataError(
                f"{path}: column {field.name} holds {found}, the format says {field.type}; {_MEND}"
            )


def _same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(found) and found.value_type == wanted.value_type)
    return bool(found == wanted)


def _count_selected(
    path: Path, table: pa.Table, config: DataConfig, class_names: Sequence[str]
) -> dict[str, int]:
    masses = table[MASS_GEV].to_numpy()
    if not np.isfinite(masses).all():
        raise DataError(f"{path}, column {MASS_GEV}: values are NaN or infinite; {_MEND}")
    if table[JET_CLASS].null_count:
        raise DataError(
            f"{path}, column {JET_CLASS}: {table[JET_CLASS].null_count} jets have no class;"
            " a search needs labelled jets to measure its accuracy"
        )
    unknown = set(pc.unique(table[JET_CLASS]).to_pylist()) - set(CLASS_NAMES)
    if unknown:
        raise DataError(
            f"{path}, column {JET_CLASS}: unknown class {min(unknown)!r};"
            f" classes are {', '.join(CLASS_NAMES)}"
        )
    kept = table.filter(_selection(table, config, class_names))[JET_CLASS].to_numpy()
    return {name: int(np.count_nonzero(kept == name)) for name in class_names}


def _selection(table: pa.Table, config: DataConfig, class_names: Sequence[str]) -> pa.Array:
    """Return bool [jet]: of a kept class, with mass_min_gev < mass < mass_max_gev."""
    in_window = pc.and_(
        pc.greater(table[MASS_GEV], config.mass_min_gev),
        pc.less(table[MASS_GEV], config.mass_max_gev),
    )
    return pc.and_(in_window, pc.is_in(table[JET_CLASS], pa.array(class_names)))


def _refuse_empty(dataset: JetDataset, split: str) -> None:
    config, counts = dataset.config, dataset.counts(split)
    window = f"{config.mass_min_gev:g} < mass < {config.mass_max_gev:g} GeV"
    if not any(counts.values()):
        raise DataError(
            f"{config.path}: no {split} jets of {', '.join(dataset.class_names)} with {window};"
            " widen data.mass_min_gev and data.mass_max_gev, or check the data set"
        )
    empty = [name for name, n_jets in counts.items() if n_jets == 0]
    if empty:
        raise DataError(
            f"{config.path}: no {split} jets of class {', '.join(empty)} with {window};"
            " leave the class out of data.classes, widen the mass window, or add jets"
        )


def pack_table(table: pa.Table, class_names: Sequence[str]) -> PackedJets:
    """Return checked jets as the network reads them."""
    features = np.stack([flat(table[name]) for name in FEATURE_NAMES], axis=1)
    return pack_lists(
        features.astype(np.float32),
        pc.list_value_length(table[FEATURE_NAMES[0]]).to_numpy(),
        table[MASS_GEV].to_numpy(),
        class_index(table, class_names),
    )


def class_index(table: pa.Table, class_names: Sequence[str]) -> IntArray:
    """Return int64 [jet]: index into `class_names`, -1 for any other class and for none."""
    index = pc.index_in(table[JET_CLASS], pa.array(class_names)).fill_null(-1)
    return np.asarray(index.to_numpy(), np.int64)


def flat(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return all constituents of all jets, one after the other; NaN for a missing value."""
    return np.asarray(pc.list_flatten(column).to_numpy())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of the file system and of Arrow into a `DataError` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing, though the manifest lists it; {_MEND}") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}; {_MEND}") from error
        # Arrow has an OSError of its own for contents that it cannot make out.
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a readable parquet file: {reason}; {_MEND}") from error
