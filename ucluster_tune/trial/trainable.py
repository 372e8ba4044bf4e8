"""One trial as Ray Tune sees it: one step is one epoch.

A class, since Tune does not wait for function trainables that a scheduler stops, and their workers
leak. No TensorFlow here: the workers have it.
"""

import json
from pathlib import Path
from typing import Any

from ray import tune

from ucluster_tune.config.study import ObjectiveConfig, ResourcesConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.trial.workers import HorovodWorkers


class UClusterTrainable(tune.Trainable):
    """Trains one configuration with Horovod workers in the trial's own placement group.

    Tune's configuration of it holds `trial_id`, `trial_config` (of `TrialConfig`), `trial_folder`,
    `resources` (of `ResourcesConfig`) and `objective` (of `ObjectiveConfig`).
    """

    _workers: HorovodWorkers | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Start the workers; they go on from the trial's last checkpoint, where there is one."""
        trial_config = TrialConfig(**config["trial_config"])
        self._n_epochs = trial_config.training.n_epochs
        self._workers = HorovodWorkers(
            trial_config,
            config["trial_folder"],
            ResourcesConfig(**config["resources"]),
            ObjectiveConfig(**config["objective"]),
        )
        self._workers.start()

    def step(self) -> dict[str, Any]:
        """Run one epoch on all workers; return rank 0's record."""
        assert self._workers is not None
        record = self._workers.run_epoch()
        return {**record, "done": record["epoch"] >= self._n_epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing of weight: the workers keep the checkpoints in the trial's folder."""
        note = {"checkpoints": "in the trial's own folder"}
        (Path(checkpoint_dir) / "note.json").write_text(json.dumps(note), encoding="utf-8")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing: `setup` goes on from the trial's own last checkpoint."""

    def cleanup(self) -> None:
        """End the workers; none outlives its trial."""
        if self._workers is not None:
            self._workers.kill()
