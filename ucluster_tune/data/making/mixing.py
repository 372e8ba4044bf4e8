"""Brings more jets than memory holds into a random order, through files.

Each jet comes with a random key. Jets are dealt to buckets by the leading bits of their keys, one
file a bucket; then one bucket after the other is read and sorted. A bucket that is too large is
dealt out once more, by the next bits. The order depends on the keys alone, not on the pieces in
which jets came.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.uint64]

_KEY: Final = "mixing_key"
_KEY_BITS: Final = 64
_BUCKET_BITS: Final = 6


class JetMixer:
    """Takes tables of jets, then gives all of them back in the order of their keys.

    Args:
        folder: empty folder for temporary files; they are about as large as the jets.
        max_jets: jets that are sorted in memory at a time.
        first_bit: leading bits of the keys that are the same for all jets.
    """

    def __init__(self, folder: Path, max_jets: int, first_bit: int = 0) -> None:
        self._folder, self._max_jets, self._first_bit = folder, max_jets, first_bit
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._n_jets: dict[int, int] = {}

    def __enter__(self) -> "JetMixer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, table: pa.Table, keys: Keys) -> None:
        """Take jets, with a random number in [0, 2^64) for each: uint64 [jet]."""
        self._deal(table.append_column(_KEY, pa.array(keys, pa.uint64())), keys)

    def tables(self) -> Iterator[pa.Table]:
        """Give all jets in order of their keys, in tables of `max_jets` at most."""
        for table in self._sorted_tables():
            yield table.drop_columns([_KEY])

    def _deal(self, table: pa.Table, keys: Keys) -> None:
        shift = np.uint64(_KEY_BITS - self._first_bit - _BUCKET_BITS)
        bucket = (keys >> shift) & np.uint64((1 << _BUCKET_BITS) - 1)
        order = np.argsort(bucket, kind="stable")
        dealt = table.take(pa.array(order)).combine_chunks()
        counts = np.bincount(bucket.astype(np.int64), minlength=1 << _BUCKET_BITS)
        starts = np.cumsum(counts) - counts
        for index in np.flatnonzero(counts).tolist():
            part = dealt.slice(starts[index], counts[index])
            self._writer(index, table.schema).write_table(part)
            self._n_jets[index] = self._n_jets.get(index, 0) + part.num_rows

    def _writer(self, bucket: int, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_stream(str(self._path(bucket)), schema)
        return self._writers[bucket]

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:02x}"

    def _close(self) -> None:
        while self._writers:
            _, writer = self._writers.popitem()
            writer.close()

    def _sorted_tables(self) -> Iterator[pa.Table]:
        self._close()
        for bucket, n_jets in sorted(self._n_jets.items()):
            path = self._path(bucket)
            if n_jets <= self._max_jets:
                with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                    table = reader.read_all().combine_chunks()
                keys = table[_KEY].to_numpy()
                yield table.take(pa.array(np.argsort(keys, kind="stable")))
            else:
                yield from self._smaller_buckets(path, bucket)
            path.unlink()

    def _smaller_buckets(self, path: Path, bucket: int) -> Iterator[pa.Table]:
        folder = self._folder / f"{bucket:02x}.parts"
        folder.mkdir()
        first_bit = self._first_bit + _BUCKET_BITS
        with JetMixer(folder, self._max_jets, first_bit) as parts:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    table = pa.Table.from_batches([batch])
                    parts._deal(table, table[_KEY].to_numpy())
            yield from parts._sorted_tables()
        folder.rmdir()
