"""Training that waits where a test wants it to: see `tests.gate`."""

from typing import Any

from tests.changed_module import change_when_imported
from tests.gate import Gate


def _hold(module: Any) -> None:
    run_epoch = module.TrainingRun.run_epoch
    gate = Gate.of_environment()

    def run_epoch_when_let(self: Any, *arguments: Any) -> Any:
        gate.pass_through(self.files.root.name, self.epoch)
        return run_epoch(self, *arguments)

    module.TrainingRun.run_epoch = run_epoch_when_let


change_when_imported("ucluster_tune.trial.training_run", _hold)
