"""A parquet data set: what it holds after the selection, and each rank's share of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.bounds import MassCensus
from ucluster_tune.data.format.duplicates import JetCensus, in_two_splits, packed_keys
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    verify_files,
)
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets, concatenate
from ucluster_tune.data.format.parquet_files import (
    LABELS,
    JetFile,
    as_promised,
    refuse_unknown_classes,
)
from ucluster_tune.data.format.schema import JET_CLASS, MEND, SPLITS, UNLABELLED
from ucluster_tune.data.reading.row_groups import (
    FileMetadata,
    Labels,
    RowGroup,
    read_jets,
    read_labels,
)
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.data.reading.sharding import Piece, part_of_each, share_row_groups
from ucluster_tune.errors import DataError
from ucluster_tune.storage.locations import Location, locate


@dataclass(frozen=True)
class JetDataset:
    """A data set whose files were looked at, with a selection of its jets.

    Attributes:
        config: path and selection.
        manifest: as read.
        class_names: classes that are kept, in the order of their indices; none of jets without
            labels, whose index is -1.
        row_groups: of each split that was opened.
        n_selected: jets of each such split that pass the selection, by class or as UNLABELLED.
        n_training_jets: of these are trained on, always the same ones; None for all.
    """

    config: DataConfig
    manifest: Manifest
    class_names: tuple[str, ...]
    row_groups: dict[str, tuple[RowGroup, ...]]
    n_selected: dict[str, dict[str, int]]
    n_training_jets: int | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether jets have classes, which all measures of agreement need."""
        return bool(self.class_names)

    def training_on(self, n_jets: int | None) -> "JetDataset":
        """Return the same data set with so many training jets at most, None for all."""
        return replace(self, n_training_jets=n_jets)

    def n_jets(self, split: str) -> int:
        """Return how many jets of `split` pass the selection; of training jets those in use."""
        return sum(part.n_jets for part in self._parts(split))

    def _parts(self, split: str) -> list[Piece]:
        n_wanted = self.n_training_jets if split == "train" else None
        return part_of_each([group.n_jets for group in self.row_groups[split]], n_wanted)

    def _shares(self, split: str, world_size: int) -> list[list[Piece]]:
        parts = self._parts(split)
        starts = [part.start for part in parts]
        return [
            [
                Piece(p.row_group, starts[p.row_group] + p.start, starts[p.row_group] + p.stop)
                for p in share
            ]
            for share in share_row_groups([part.n_jets for part in parts], world_size)
        ]

    def counts(self, split: str) -> dict[str, int]:
        """Return how many jets of `split` pass the selection, by class."""
        return self.n_selected[split]

    def share(self, split: str, rank: int, world_size: int) -> list[Piece]:
        """Return the pieces of row groups that a rank reads."""
        return self._shares(split, world_size)[rank]

    def n_jets_by_rank(self, split: str, world_size: int) -> list[int]:
        """Return how many jets of `split` each rank has."""
        shares = self._shares(split, world_size)
        return [sum(piece.n_jets for piece in share) for share in shares]

    def read_share(self, split: str, rank: int = 0, world_size: int = 1) -> PackedJets:
        """Return the jets of one rank's row groups that pass the selection.

        Raises:
            DataError: a value is not finite, or a file changed since it was opened.
        """
        return self.read_pieces(split, self.share(split, rank, world_size))

    def read_pieces(self, split: str, pieces: Sequence[Piece]) -> PackedJets:
        """Return the jets of some pieces, in their order.

        Raises:
            DataError: as `read_share`.
        """
        return concatenate(list(self.blocks_of(split, pieces)))

    def blocks_of(
        self, split: str, pieces: Sequence[Piece], known: FileMetadata | None = None
    ) -> Iterator[PackedJets]:
        """Yield the same, some thousand jets at a time; a file is opened once for neighbours.

        Args:
            split: of which the pieces are.
            pieces: in any order.
            known: takes what is learnt of the files, so that they are opened faster again.

        Raises:
            DataError: as `read_share`.
        """
        groups = self.row_groups[split]
        chosen = [(groups[p.row_group], p) for p in pieces]
        return read_jets(chosen, self.class_names, self.selection, known)

    def read_masses(self, split: str) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of all selected jets of `split`, and no features."""
        masses, classes = [], []
        index = np.array([CLASS_NAMES.index(name) for name in self.class_names])
        for jet_file, _ in groupby(self.row_groups[split], lambda group: group.file):
            for labels in read_labels(jet_file):
                passes = self.selection.passes(labels.mass_gev, labels.jet_class)
                masses.append(labels.mass_gev[passes])
                of_class = labels.jet_class[passes]
                classes.append(np.searchsorted(index, of_class) if len(index) else of_class)
        return np.concatenate(masses), np.concatenate(classes)

    def check_values(self) -> None:
        """Read everything once, so that a bad value is found before the first trial.

        Raises:
            DataError: naming file, row group and column; or a jet is in two splits.
        """
        seen = {split: JetCensus() for split in SPLITS}
        for split in SPLITS:
            everything = [Piece(i, 0, g.n_jets) for i, g in enumerate(self.row_groups[split])]
            for jets in self.blocks_of(split, everything):
                seen[split].are_new(packed_keys(jets))
        for fault in in_two_splits(seen):
            raise DataError(
                f"{self.config.path}: {fault}: accuracies on them would be too good; convert or"
                " simulate it anew, or give each jet to one split where it was made"
            )

    @property
    def selection(self) -> Selection:
        """Which jets are read."""
        return Selection(self.config.mass_min_gev, self.config.mass_max_gev, self.class_names)


def open_dataset(config: DataConfig, splits: Sequence[str] = SPLITS) -> JetDataset:
    """Return the data set at `config.path`, its files and columns checked, jets selected.

    Reads classes and masses of all jets of `splits`, and no features.

    Raises:
        DataError: something is missing, cut short, of a newer format, of an unknown shape, or no
            jet of a class is left.
    """
    folder = locate(config.path)
    manifest = read_manifest(folder)
    class_names = _kept_classes(config, manifest, folder)
    dataset = JetDataset(config, manifest, class_names, {}, {})
    for split in splits:
        groups, counts = _count_selected(folder, manifest, split, dataset.selection)
        dataset.row_groups[split] = groups
        dataset.n_selected[split] = {
            name: int(counts[CLASS_NAMES.index(name)]) for name in class_names
        } or {UNLABELLED: sum(group.n_jets for group in groups)}
        _refuse_empty(dataset, split)
    return dataset


def open_checked_dataset(
    config: DataConfig,
    world_size: int,
    checked_before: str | None = None,
    needing_labels: Sequence[str] = (),
) -> JetDataset:
    """Return the data set of `open_dataset`, looked at as closely as is worth it for a study.

    Of a local data set every file is compared with its checksum and every value read. A remote
    one would have to be fetched whole for that: it stays with the sizes of the files, their
    columns, classes and masses, and values are checked whenever they are read for training.

    Args:
        config: path and selection.
        world_size: number of ranks.
        checked_before: the data set's checksum when all its values were read, with this
            selection; files that still have their checksums are not read again.
        needing_labels: metrics of the objective that jets without classes do not have.

    Raises:
        DataError: as `open_dataset`; or a file was altered, a value is not finite, a jet is in two
            splits, there are too few jets for `world_size` ranks, or they lack classes.
    """
    dataset = open_dataset(config)
    if needing_labels and not dataset.is_labelled:
        raise DataError(
            f"{config.path}: the jets have no classes, which objective.metric and"
            f" objective.others, here {', '.join(needing_labels)}, would need; choose metrics"
            " without labels, as by --set objective.metric=silhouette"
        )
    if locate(config.path).is_local:
        verify_files(config.path, dataset.manifest)
        if dataset.manifest.dataset_checksum != checked_before:
            dataset.check_values()
    for split in SPLITS:
        dataset.n_jets_by_rank(split, world_size)
    return dataset


def _count_selected(
    folder: Location, manifest: Manifest, split: str, selection: Selection
) -> tuple[tuple[RowGroup, ...], IntArray]:
    """Return all row groups with the number of jets that pass, and their sum by CLASS_NAMES."""
    groups: list[RowGroup] = []
    by_class, all_jets = np.zeros((2, len(CLASS_NAMES)), np.int64)
    n_jets_read = 0
    for listed in manifest.split_files(split):
        file = JetFile(folder / listed.path, listed.n_bytes)
        for labels in read_labels(file):
            is_known = labels.jet_class >= 0
            if manifest.classes or is_known.any():
                _refuse_unlabelled(file, labels)
            n_jets_read += len(is_known)
            all_jets += np.bincount(labels.jet_class[is_known], minlength=len(CLASS_NAMES))
            passes = selection.passes(labels.mass_gev, labels.jet_class)
            group = np.repeat(np.arange(len(labels.sizes)), labels.sizes)[passes]
            n_jets = np.bincount(group, minlength=len(labels.sizes)).tolist()
            groups += map(RowGroup, [file] * len(n_jets), labels.row_groups, n_jets)
            by_class += np.bincount(
                labels.jet_class[passes & is_known], minlength=len(CLASS_NAMES)
            )
    told = {name: n for name, n in manifest.counts.get(split, {}).items() if n}
    found = {name: int(n) for name, n in zip(CLASS_NAMES, all_jets, strict=True) if n}
    if not manifest.classes:
        told = {**told, UNLABELLED: manifest.n_jets(split)}
        found = {**found, UNLABELLED: n_jets_read}
    if told != found:
        raise DataError(f"{folder}: {split} has jets {found}, {MANIFEST_NAME} says {told}; {MEND}")
    return tuple(groups), by_class


def _refuse_unlabelled(file: JetFile, labels: Labels) -> None:
    """Raise for the first row group with a jet of no class or of an unknown one."""
    unlabelled = np.flatnonzero(labels.jet_class < 0)
    if not len(unlabelled):
        return
    position = int(np.searchsorted(np.cumsum(labels.sizes), unlabelled[0], side="right"))
    row_group = labels.row_groups[position]
    with file.opened() as opened:
        table = as_promised(opened.read_row_group(row_group, LABELS))
    where = f"{file}, row group {row_group}"
    if table[JET_CLASS].null_count:
        raise DataError(
            f"{where}, column {JET_CLASS}: {table[JET_CLASS].null_count} jets have no class;"
            " a search measures its accuracy on labelled jets: either all of a data set have a"
            f" class, or none has and {MANIFEST_NAME} lists none"
        )
    refuse_unknown_classes(table, where)


def _kept_classes(config: DataConfig, manifest: Manifest, folder: Location) -> tuple[str, ...]:
    wanted = config.classes if config.classes is not None else manifest.classes
    absent = [name for name in wanted if name not in manifest.classes]
    if absent and not manifest.classes:
        raise DataError(f"{folder}: its jets have no classes; leave data.classes out")
    if absent:
        raise DataError(
            f"{folder}: has no jets of class {', '.join(absent)};"
            f" data.classes can name {', '.join(manifest.classes)}"
        )
    return tuple(name for name in CLASS_NAMES if name in wanted)


def _refuse_empty(dataset: JetDataset, split: str) -> None:
    config, counts = dataset.config, dataset.counts(split)
    window = f"{config.mass_min_gev:g} < mass < {config.mass_max_gev:g} GeV"
    of_classes = f" of {', '.join(dataset.class_names)}" if dataset.is_labelled else ""
    if not any(counts.values()):
        raise DataError(
            f"{config.path}: no {split} jets{of_classes} with {window};"
            " widen data.mass_min_gev and data.mass_max_gev, or check the data set"
            f"{_unit_hint(dataset, split)}"
        )
    empty = [name for name, n_jets in counts.items() if n_jets == 0]
    if empty:
        raise DataError(
            f"{config.path}: no {split} jets of class {', '.join(empty)} with {window};"
            " leave the class out of data.classes, widen the mass window, or add jets"
            f"{_unit_hint(dataset, split)}"
        )


def _unit_hint(dataset: JetDataset, split: str) -> str:
    """Return what speaks for masses in MeV, which no window in GeV takes."""
    census = MassCensus()
    for jet_file, _ in groupby(dataset.row_groups[split], lambda group: group.file):
        for labels in read_labels(jet_file):
            census.take(labels.mass_gev)
    remark = census.unit_remark()
    return f"; {remark}" if remark else ""
