"""A module of the program that is changed as it is imported, in a process that a test starts.

For a `sitecustomize.py` in the test's PYTHONPATH, which Python reads at its start: in every
process of a search, workers included.
"""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from typing import Any


def change_when_imported(name: str, change: Callable[[Any], None]) -> None:
    """Has a module loaded as usual, and changed then."""
    sys.meta_path.insert(0, _Changing(name, change))


class _Changing(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self._name, self._change = name, change

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: Any) -> None:
            load(module)
            self._change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]  # of this import alone
        return spec
