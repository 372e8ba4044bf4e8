"""The file of a prediction, parquet or CSV: one row a jet, written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.packed import FloatArray, IntArray
from ucluster_tune.data.format.schema import JET_CLASS, MASS_GEV
from ucluster_tune.data.reading.jet_source import Origin
from ucluster_tune.errors import DataError, MachineError
from ucluster_tune.storage.whole_files import beside, discard, explained, publish

ENDINGS: Final = (".parquet", ".csv")
METADATA_KEY: Final = b"ucluster_tune_prediction"


def prediction_schema(n_clusters: int, embedding_dim: int, about: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a prediction.

    `jet` is the number of the jet in its source, from 0; `split`, `file` and `row` are where it
    stands; `jet_class` and `mass_gev` what is known of it; `cluster` is the nearest centroid;
    `embedding_0` and so on; `distance_0` and so on the squared distances to the centroids.

    Args:
        n_clusters: distances.
        embedding_dim: components of the embedding.
        about: where the numbers come from, kept as JSON in the file's metadata.
    """
    fields = [
        pa.field("jet", pa.int64(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field(JET_CLASS, pa.string()),
        pa.field(MASS_GEV, pa.float32()),
        pa.field("cluster", pa.int32(), nullable=False),
        *(_float_field(f"embedding_{index}") for index in range(embedding_dim)),
        *(_float_field(f"distance_{index}") for index in range(n_clusters)),
    ]
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(dict(about)).encode()})


def refuse_existing(path: Path) -> None:
    """Raise DataError where there is something of that name."""
    if path.exists() or path.is_symlink():
        raise DataError(
            f"{path}: is there already, and nothing is ever overwritten; choose another name,"
            " or remove it first"
        )


class PredictionWriter:
    """Writes a prediction in order; a context manager.

    The file gets its name when the block ends well, and nothing stays of it when it does not.

    Args:
        path: of the file, which must not exist; its ending says the format, one of ENDINGS.
        schema: from `prediction_schema`.
        origins: where all jets stand, in order.

    Raises:
        DataError: there is something of that name.
        MachineError: disk full, no permission, or another failure of the machine.
    """

    def __init__(self, path: Path, schema: pa.Schema, origins: Sequence[Origin]) -> None:
        refuse_existing(path)
        self._target = path.absolute()
        self._temporary = beside(self._target)
        self._schema = schema
        self._origins = [origin for origin in origins if origin.n_jets]
        self._ends = np.cumsum([origin.n_jets for origin in self._origins])
        self.n_jets = 0

    def __enter__(self) -> "PredictionWriter":
        with explained(self._target, MachineError):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._temporary.open("wb")
        self._writer = (
            csv.CSVWriter(self._stream, self._schema)
            if self._target.suffix.lower() == ".csv"
            else pq.ParquetWriter(self._stream, self._schema, compression="zstd")
        )
        return self

    def write(
        self,
        cluster: IntArray,
        embedding: FloatArray,
        distances: FloatArray,
        mass_gev: FloatArray,
        jet_class: IntArray,
    ) -> None:
        """Add the next jets.

        Args:
            cluster: int [jet].
            embedding: float32 [jet, dim].
            distances: float32 [jet, cluster].
            mass_gev: float32 [jet]; NaN where it is not known.
            jet_class: int [jet], indices into CLASS_NAMES; -1 where it is not known.
        """
        n_jets = len(cluster)
        jet = np.arange(self.n_jets, self.n_jets + n_jets, dtype=np.int64)
        group = np.searchsorted(self._ends, jet, side="right")
        first_jet = self._ends - [origin.n_jets for origin in self._origins]
        first_row = np.array([origin.first_row for origin in self._origins])
        names = pa.array(CLASS_NAMES)
        columns = [
            jet,
            pa.array([origin.split for origin in self._origins], pa.string()).take(group),
            pa.array([origin.file for origin in self._origins], pa.string()).take(group),
            jet - first_jet[group] + first_row[group],
            names.take(pa.array(jet_class, mask=jet_class < 0)),
            pa.array(mass_gev, mask=np.isnan(mass_gev)),
            cluster.astype(np.int32),
            *np.ascontiguousarray(embedding.T),
            *np.ascontiguousarray(distances.T),
        ]
        with explained(self._target, MachineError):
            self._writer.write_table(pa.table(columns, schema=self._schema))
        self.n_jets += n_jets

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with explained(self._target, MachineError):
                    self._writer.close()
                    self._stream.close()
                    publish(self._temporary, self._target)
        finally:
            with suppress(OSError):  # on a full disk it cannot end in order
                self._writer.close()
            if isinstance(self._writer, pq.ParquetWriter):
                self._writer.is_open = False  # or it would try again when it is collected
            with suppress(OSError):
                self._stream.close()
            discard(self._temporary)


def _float_field(name: str) -> pa.Field:
    return pa.field(name, pa.float32(), nullable=False)
