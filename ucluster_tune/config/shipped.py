"""The search spaces that ship with the program, by name, such as `quickstart`."""

import sys
from pathlib import Path

import ucluster_tune


def shipped_search_spaces() -> dict[str, Path]:
    """Return the files by name; none where the program lies without them.

    They lie beside the package in a checkout, beside its environment in an image.
    """
    folders = (Path(ucluster_tune.__file__).parents[1], Path(sys.prefix).parent)
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "search_spaces").glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found
