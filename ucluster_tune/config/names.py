"""Names: of a study, of a Zenodo record, and the nearest legal one for one that is misspelt.

A Zenodo record may be named by its number, its DOI or its address. Knows no network.
"""

import difflib
import re
from collections.abc import Collection, Mapping

# What the MLflow store beside the studies is called; SQLite puts further files of that name there.
TRACKING_FILE, TRACKING_ARTIFACTS = "mlflow.db", "mlartifacts"
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_SHOWN = 80
_RECORD = re.compile(
    r"""(?:zenodo:
         | (?:doi:|https?://(?:dx\.)?doi\.org/)?10\.5281/zenodo\.
         | https?://(?:www\.)?zenodo\.org/records?/
        )(?P<number>[0-9]{1,12})(?:[/?\#].*)?""",
    re.VERBOSE | re.IGNORECASE,
)
_START = re.compile(r"(zenodo:|doi:|10\.\d|https?:)", re.IGNORECASE)


def study_name_fault(name: str | None) -> str | None:
    """Return why a study cannot be called so, None where it can; no name yet is no fault.

    >>> study_name_fault("quickstart")
    >>> study_name_fault("mlflow.db2")
    "must not begin with mlflow.db, as the MLflow store beside the studies does, got 'mlflow.db2'"
    """
    if name is None:
        return None
    if not _STUDY_NAME.fullmatch(name):
        shown = name if len(name) <= _MAX_SHOWN else f"{name[: _MAX_SHOWN - 3]}..."
        return (
            "must hold 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or"
            f" digit, got {shown!r}" + (f" ({len(name)} characters)" if len(name) > 64 else "")
        )
    for taken in (TRACKING_FILE, TRACKING_ARTIFACTS):
        if name.startswith(taken):
            return (
                f"must not begin with {taken}, as the MLflow store beside the studies does, got"
                f" {name!r}"
            )
    return None


def nearest(word: str, legal: Collection[str]) -> str | None:
    """Return the legal name that a misspelt one most likely stands for, or None.

    >>> nearest("n_neighbor", ["n_neighbors", "n_clusters"])
    'n_neighbors'
    """
    by_lower_case = {name.lower(): name for name in legal}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower_case, n=1)
    return by_lower_case[found[0]] if found else None


def did_you_mean(
    word: str, legal: Collection[str], elsewhere: Mapping[str, str] | None = None
) -> str:
    """Return the second half of an unknown name's fault.

    Args:
        word: the unknown name.
        legal: what may stand in its place.
        elsewhere: names that are legal in other places, with their full paths.
    """
    if elsewhere and word not in legal and word in elsewhere:
        return f"did you mean {elsewhere[word]}?"
    suggestion = nearest(word, legal)
    if suggestion is not None:
        return f"did you mean {suggestion}?"
    return f"legal here: {', '.join(legal)}"


def zenodo_number(name: str) -> str | None:
    """Return the number of the record that `name` means, None where it means something else.

    A bare number is none: it might be a folder.

    >>> zenodo_number("10.5281/zenodo.3602254"), zenodo_number("data/jets")
    ('3602254', None)
    >>> zenodo_number("https://zenodo.org/records/3602254/files/x.tar.gz")
    '3602254'
    """
    found = _RECORD.fullmatch(name.strip())
    return found["number"].lstrip("0") or None if found else None


def is_remote_name(name: str) -> bool:
    """Tell whether a text can be no path here: a DOI or an address, perhaps a wrong one.

    >>> is_remote_name("doi:10.1000/182"), is_remote_name("zenodo/jets")
    (True, False)
    """
    return _START.match(name.strip()) is not None
