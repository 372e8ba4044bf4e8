"""Names of classes in a data set that are none of ours: no jet of them can be measured."""

from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.schema import JET_CLASS
from ucluster_tune.data.reading.jet_stream import JetSource, ParquetJets

_MAX_NAMES = 5
_MAX_CHARACTERS = 40


def unknown_classes(source: JetSource) -> list[str]:
    """Return some of these names, cut where they are long; none for what is no parquet.

    Raises:
        DataError: a file changed since it was opened.
    """
    if not isinstance(source, ParquetJets):
        return []
    found: set[str] = set()
    for jet_file, row_group in source.row_groups:
        with jet_file.opened() as file:
            names = file.read_row_group(row_group, [JET_CLASS])[JET_CLASS].unique().to_pylist()
        found |= {name[:_MAX_CHARACTERS] for name in names if name not in (None, *CLASS_NAMES)}
        if len(found) >= _MAX_NAMES:
            break
    return sorted(found)[:_MAX_NAMES]
