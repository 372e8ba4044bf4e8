"""A trial whose Horovod workers are on different hosts; runs on the head of a cluster.

Each line of its output is an object in JSON: what happened, when, and where.
"""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tests.small_study import small_study
from ucluster_tune.config.study import ObjectiveConfig, ResourcesConfig, StudyConfig
from ucluster_tune.trial.failures import kind_of
from ucluster_tune.trial.single import trial_config_of


def tell(event: str, **values: Any) -> None:
    """Writes a line of output."""
    print(json.dumps({"event": event, "time": time.time(), **values}), flush=True)


class Trial:
    """What a Tune trainable is to its workers: the process that starts them, in their group."""

    def __init__(self, jets: str, folder: str, training: dict[str, Any]) -> None:
        from ucluster_tune.trial.workers import HorovodWorkers

        logging.basicConfig(level=logging.INFO)
        study = StudyConfig.model_validate(small_study(Path(jets), training=training))
        resources = ResourcesConfig(workers_per_trial=2, cpus_per_worker=1.0)
        self._workers = HorovodWorkers(
            trial_config_of(study), folder, resources, ObjectiveConfig()
        )

    def start(self) -> dict[str, Any]:
        """Starts the workers; tells where they are and what Horovod was told of the network."""
        self._workers.start()
        import socket

        executor = self._workers._executor
        assert executor is not None
        actors = executor.adapter.workers
        names = ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_IFACE")
        variables = ray.get([actor.env_vars.remote() for actor in actors])
        return {
            "trainable": socket.gethostname(),
            "hosts": ray.get([actor.hostname.remote() for actor in actors]),
            **{name: sorted({v[name] for v in variables}) for name in names},
        }

    def run_epoch(self) -> dict[str, Any]:
        """Runs the next epoch."""
        return self._workers.run_epoch()

    def kill(self) -> None:
        """Ends the workers."""
        self._workers.kill()


def main(jets: str, folder: str, n_epochs: int, **training: Any) -> None:
    """Runs the epochs; the last line tells of the failure or the end."""
    ray.init(address="auto", log_to_driver=False)
    group = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
    ray.get(group.ready(), timeout=60)
    tell("placed")
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    training = {"n_epochs": n_epochs, "n_pretraining_epochs": 1, **training}
    remote: Any = ray.remote
    actor = remote(Trial).options(num_cpus=0, scheduling_strategy=strategy)
    trial = actor.remote(jets, folder, training)
    try:
        tell("started", **ray.get(trial.start.remote()))
        for _ in range(n_epochs):
            record = ray.get(trial.run_epoch.remote())
            tell("epoch", epoch=record["epoch"], loss=record["focal_loss"])
        tell("end")
    except Exception as error:  # noqa: BLE001  # told
        cause = getattr(error, "cause", None) or error
        tell("failed", error=type(cause).__name__, text=str(cause), kind=kind_of(cause).name)
    try:
        ray.get(trial.kill.remote(), timeout=60)
        tell("killed")
    except ray.exceptions.RayError as error:
        tell("trainable lost", text=str(error))


if __name__ == "__main__":
    jets, folder, n_epochs, *rest = sys.argv[1:]
    main(jets, folder, int(n_epochs), **json.loads(rest[0] if rest else "{}"))
