"""Names: what a study may be called, and the nearest legal name for a misspelt one."""

import difflib
import re
from collections.abc import Collection, Mapping

# What the MLflow store beside the studies is called; SQLite puts further files of that name there.
TRACKING_FILE, TRACKING_ARTIFACTS = "mlflow.db", "mlartifacts"
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_SHOWN = 80


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
