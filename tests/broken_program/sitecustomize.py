"""A mistake in the program: a line of it fails in the first epoch of the trial 0003.

Python reads this at its start where the folder is in PYTHONPATH, in every process of a search, so
that the error is raised where a mistake would raise it.
"""

import importlib.abc
import importlib.util
import sys
from typing import Any

MODULE, TRIAL = "ucluster_tune.trial.checkpointed", "0003"


class _Breaking(importlib.abc.MetaPathFinder):
    """Has a module loaded as usual, and breaks it then."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_break(module: Any) -> None:
            load(module)
            _break(module.CheckpointedTraining)

        spec.loader.exec_module = load_and_break  # type: ignore[method-assign]  # of this import alone
        return spec


def _break(training: Any) -> None:
    run_epoch = training.run_epoch

    def run_epoch_with_mistake(self: Any, *arguments: Any) -> Any:
        if self._files.root.name == TRIAL:
            raise KeyError("a key that nobody wrote")
        return run_epoch(self, *arguments)

    training.run_epoch = run_epoch_with_mistake


sys.meta_path.insert(0, _Breaking())
