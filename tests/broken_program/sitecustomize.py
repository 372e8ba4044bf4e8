"""A mistake in the program: a line of it fails in the first epoch of the trial 0003.

The error is raised where a mistake would raise it: in the process of a worker.
"""

from typing import Any

from tests.changed_module import change_when_imported

TRIAL = "0003"


def _break(module: Any) -> None:
    run_epoch = module.TrainingRun.run_epoch

    def run_epoch_with_mistake(self: Any, *arguments: Any) -> Any:
        if self.files.root.name == TRIAL:
            raise KeyError("a key that nobody wrote")
        return run_epoch(self, *arguments)

    module.TrainingRun.run_epoch = run_epoch_with_mistake


change_when_imported("ucluster_tune.trial.training_run", _break)
