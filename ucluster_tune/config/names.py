"""The nearest legal name for a misspelt one."""

import difflib
from collections.abc import Collection, Mapping


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
