"""What a trial occupies in a Ray cluster."""

from ray.tune import PlacementGroupFactory

from ucluster_tune.config.study import ResourcesConfig


def placement(resources: ResourcesConfig) -> PlacementGroupFactory:
    """Return one bundle a worker, and an empty one for the trainable, which only waits."""
    bundle = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        bundle["GPU"] = resources.gpus_per_worker
    return PlacementGroupFactory(
        [{}, *([bundle] * resources.workers_per_trial)], strategy=resources.placement.upper()
    )
