"""All jets of HLS4ML HDF5 files in their order, to predict with; nothing is converted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ucluster_tune.data.format.bounds import MASS_BOUNDS_GEV, mass_fault
from ucluster_tune.data.format.packed import FloatArray, IntArray, PackedJets, pack_lists
from ucluster_tune.data.hls4ml.jets import (
    check_file,
    constituent_lists,
    is_absurd,
    read_rows,
    read_truth,
    value_fault,
)
from ucluster_tune.data.hls4ml.layout import refuse_unlabelled
from ucluster_tune.data.hls4ml.sources import Hdf5File, OnBytes, find_source_files, side_by_side
from ucluster_tune.data.reading.jet_source import Chunk, Origin, place_in_file
from ucluster_tune.errors import DataError


@dataclass(frozen=True)
class Hls4mlJets:
    """The jets of some files, file by file, row by row; see `data.reading.jet_source.JetSource`.

    Attributes:
        description: path and order.
        rows: the file, first row and the one after the last of each block.
        remarks: what is strange about the files, a sentence each.
    """

    description: str
    rows: tuple[tuple[Hdf5File, int, int], ...]
    remarks: tuple[str, ...] = ()

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Jets of each block."""
        return tuple(stop - start for _, start, stop in self.rows)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the jets of each block stand; the files have no splits."""
        return tuple(Origin(None, file.label, start, n - start) for file, start, n in self.rows)

    def read(self, blocks: range) -> Iterator[PackedJets]:
        """Yield the jets of neighbouring blocks; those without constituents stay."""
        for file, start, stop in self.rows[blocks.start : blocks.stop]:
            for block in read_rows(file.path, file.label, start, stop).parts():
                counts, features = constituent_lists(block.columns)
                number = block.start + np.arange(len(block))
                _refuse_bad(features, np.repeat(number, counts), file.label)
                jet_class = block.class_index.astype(np.int64)
                yield pack_lists(features, counts, block.mass_gev, jet_class)

    def read_labels(self, blocks: range) -> tuple[FloatArray, IntArray]:
        """Return mass [GeV] and class of the jets of neighbouring blocks; see `JetSource`."""
        masses, classes = [], []
        for file, start, stop in self.rows[blocks.start : blocks.stop]:
            mass_gev, jet_class = read_truth(file.path, file.label, start, stop)
            if np.isnan(mass_gev).all():
                refuse_unlabelled(check_file(file.path, file.label), file.label)
            if not MASS_BOUNDS_GEV.hold(mass_gev):
                first = int(np.flatnonzero(MASS_BOUNDS_GEV.outside(mass_gev))[0])
                raise DataError(
                    f"{file.label}: jet {start + first} has a mass"
                    f" {mass_fault(float(mass_gev[first]))};"
                    " download or copy the file again from where it came"
                )
            masses.append(mass_gev)
            classes.append(jet_class.astype(np.int64))
        return np.concatenate(masses), np.concatenate(classes)

    def place_of(self, chunk: Chunk, position: int) -> str:
        """Return the file of a jet and its number there."""
        row = position
        for file, start, stop in self.rows[chunk.blocks.start :]:
            if row < stop - start:
                return place_in_file(file.label, start + row, chunk.first_jet + position)
            row -= stop - start
        raise AssertionError("a position is that of a jet of the chunk")

    def unknown_classes(self) -> list[str]:
        """Return none: the columns of classes have names of their own."""
        return []


def open_hls4ml(path: Path, scratch: Path, on_bytes: OnBytes = lambda n_bytes: None) -> Hls4mlJets:
    """Return the jets of a file, or of all files of a folder or archive in the order of names.

    Args:
        path: of an HDF5 file, of a folder of them, or of their tar.
        scratch: empty folder, into which archives are unpacked: of those that are compressed no
            part can be read without all before it. It stays as long as jets are read.
        on_bytes: called with the number of bytes of archives read since the last call.

    Raises:
        DataError: a file is damaged or no HLS4ML file, or there are no jets.
        MachineError: no space to unpack an archive.
    """
    rows: list[tuple[Hdf5File, int, int]] = []
    remarks: list[str] = []
    sources = find_source_files(path)
    if sources[0].is_parquet:
        raise DataError(
            f"{path}: parquet files of the HLS4ML mirror; make a data set of them first:"
            f" `ucluster-tune data convert {path} --out DIR`"
        )
    files = side_by_side(sources, scratch, on_bytes)
    for file in files:
        layout = check_file(file.path, file.label)
        if layout.absent_classes:
            remarks.append(
                f"{file.label}: has no column {', '.join(layout.absent_classes)} beside those of"
                " other classes; its jets are taken as unlabelled"
            )
        starts = range(0, layout.n_jets, layout.rows_per_read)
        rows += [(file, s, min(s + layout.rows_per_read, layout.n_jets)) for s in starts]
    if not rows:
        raise DataError(f"{path}: no jets in it; choose another file")
    order = f", {len(files)} files in the order of their names" if len(files) > 1 else ""
    return Hls4mlJets(f"{path}{order}", tuple(rows), tuple(remarks))


def _refuse_bad(features: FloatArray, jet: IntArray, label: str) -> None:
    """Raise for a value that is no number: leaving the jet out would shift all rows after it."""
    is_bad = is_absurd(features)
    if not is_bad.any():
        return
    first = int(jet[is_bad.any(axis=1)][0])
    raise DataError(
        f"{label}: jet {first} has {value_fault(features[jet == first])};"
        " download or copy the file again, or convert it with"
        " `ucluster-tune data convert --max-bad-jets`, which leaves such jets out"
    )
