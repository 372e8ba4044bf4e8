"""How jets lie in parquet files: columns, names and the table that a writer takes.

Knows nothing of folders or manifests.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ucluster_tune.data.format.features import FEATURE_NAMES, MAX_CONSTITUENTS, N_FEATURES, Floats

FORMAT_VERSION: Final = 2
"""Of version 1 are simulated jets whose `cos_theta_rel` is another quantity; see `manifest`."""

SPLITS: Final = ("train", "validation", "test")

JET_CLASS: Final = "jet_class"
MASS_GEV: Final = "mass_gev"

UNLABELLED: Final = "unlabelled"
"""In place of a class, where jets are counted that have none."""

MEND: Final = "copy the data set again from where it came, or make it again"
"""What to do with a data set that is damaged, to end a message."""

MAX_ROW_GROUP_SIZE: Final = 1_000_000
"""Jets in a row group: what comes from the storage at a time."""

FORMAT_KEY: Final = b"ucluster_tune_format"
"""Key-value metadata of each parquet file that carries the format version."""


def jets_schema() -> pa.Schema:
    """Return the columns of a parquet file of jets, in order, with the format version as metadata.

    `jet_class` (null where the truth is unknown), `mass_gev`, and a list of floats for each
    constituent feature. Lists hold real constituents only, in descending pt, and are equally long
    within a jet.
    """
    constituents = pa.list_(pa.field("element", pa.float32(), nullable=False))
    fields = [
        pa.field(JET_CLASS, pa.string(), nullable=True),
        pa.field(MASS_GEV, pa.float32(), nullable=False),
        *(pa.field(name, constituents, nullable=False) for name in FEATURE_NAMES),
    ]
    return pa.schema(fields, metadata={FORMAT_KEY: str(FORMAT_VERSION).encode()})


def jets_table(
    jet_class: Sequence[str | None],
    mass_gev: Floats,
    n_constituents: npt.NDArray[np.integer[Any]],
    features: Floats,
) -> pa.Table:
    """Jets as an Arrow table with `jets_schema()`.

    Args:
        jet_class: [jet], each one of CLASS_NAMES, or None where the truth is unknown.
        mass_gev: float [jet].
        n_constituents: int [jet], each in [1, MAX_CONSTITUENTS].
        features: float [constituent, feature], the constituents of the first jet, then those of
            the second and so on.
    """
    counts = np.asarray(n_constituents, dtype=np.int64)
    if features.shape != (int(counts.sum()), N_FEATURES):
        raise ValueError(
            f"features must be [{int(counts.sum())}, {N_FEATURES}], got {list(features.shape)}"
        )
    if counts.size and not (counts.min() >= 1 and counts.max() <= MAX_CONSTITUENTS):
        raise ValueError(
            f"n_constituents must lie in [1, {MAX_CONSTITUENTS}],"
            f" got {counts.min()} to {counts.max()}"
        )
    schema = jets_schema()
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    columns = [
        pa.array(jet_class, type=pa.string()),
        pa.array(np.asarray(mass_gev, dtype=np.float32)),
    ]
    for index, name in enumerate(FEATURE_NAMES):
        values = pa.array(np.ascontiguousarray(features[:, index], dtype=np.float32))
        columns.append(pa.ListArray.from_arrays(offsets, values, type=schema.field(name).type))
    return pa.table(columns, schema=schema)
