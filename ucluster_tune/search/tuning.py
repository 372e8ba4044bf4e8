"""Ray Tune runs the trials of a study; the one place that puts Tune's parts together."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray import tune

from ucluster_tune.config.budget import MOST_TRIALS
from ucluster_tune.config.study import ResourcesConfig, StudyConfig
from ucluster_tune.search.driver import StudyDriver
from ucluster_tune.search.listener import Say, TuneListener
from ucluster_tune.search.samplers.asking import StudySampler
from ucluster_tune.search.suggestions import Suggestions
from ucluster_tune.search.verdicts import Verdicts
from ucluster_tune.study.paths import remove_folder
from ucluster_tune.tracking.mlflow.store import import_mlflow
from ucluster_tune.trial.trainable import UClusterTrainable


def run_trials(
    driver: StudyDriver,
    sampler: StudySampler | None,
    room: Callable[[], int],
    say: Say,
    refuse_dead_ray: Callable[[], None],
    trainable: type[tune.Trainable] = UClusterTrainable,
    suggestions: type[Suggestions] = Suggestions,
) -> None:
    """Let Tune run all trials, or until the first signal or wish to stop.

    Args:
        driver: told of all that happens; its record has the trials so far.
        sampler: asked for hyperparameters.
        room: tells how many trials may run at a time.
        say: shows one line.
        refuse_dead_ray: raises MachineError when there is no Ray any more.
        trainable: what Tune runs; another one serves to measure the search alone.
        suggestions: what Tune asks for trials.

    Raises:
        MachineError: Ray ended.
        StudyError: the study's storage takes nothing any more.
        KeyboardInterrupt: at the second signal, or where `stop` says at once.
    """
    config, paths = driver.config, driver.paths
    os.environ.pop("TUNE_RESULT_DIR", None)  # Tune refuses it; its files belong to the study
    scheduler = Verdicts(driver)
    listener = TuneListener(driver, scheduler, say, refuse_dead_ray)
    remove_folder(paths.ray)  # nothing of Tune's own is ever read again
    tuner = tune.Tuner(
        tune.with_resources(trainable, _placement(config.resources)),
        tune_config=tune.TuneConfig(
            search_alg=suggestions(sampler, driver, room),
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,  # the start of workers takes as long as an epoch or two
            # So many Tune asks for; fewer run where `room` says so.
            max_concurrent_trials=config.resources.max_concurrent_trials or most_trainings(config),
            trial_name_creator=lambda trial: str(trial.config["trial_id"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
        ),
        run_config=tune.RunConfig(
            name=paths.ray.name,
            storage_path=str(paths.root),
            callbacks=[listener],
            stop=listener,
            failure_config=tune.FailureConfig(max_failures=-1),  # the driver has the limit
            # The workers keep the trials' checkpoints; Tune would keep another one at each end.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    import_mlflow()  # Tune does, to see whether it knows a callback; threads of ours may be at it
    with _signals(driver):
        tuner.fit()
    # Tune takes an error for one trial's own, so what nothing can go on after is told here again.
    driver.keeper.refuse_fatal()


def most_trainings(config: StudyConfig) -> int:
    """Return how many trainings may run at a time where nothing but the budget limits them."""
    return (config.budget.n_trials or MOST_TRIALS) * config.objective.seeds_per_trial


def _placement(resources: ResourcesConfig) -> tune.PlacementGroupFactory:
    """Return one bundle a worker, and an empty one for the trainable, which only waits."""
    bundle = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        bundle["GPU"] = resources.gpus_per_worker
    return tune.PlacementGroupFactory(
        [{}, *([bundle] * resources.n_workers)], strategy=resources.placement.upper()
    )


@contextmanager
def _signals(driver: StudyDriver) -> Iterator[None]:
    """Take the first signal as a wish to stop in order, the same one again as one to stop at once.

    A service manager sends SIGTERM and SIGHUP for one wish.
    """
    heard: set[int] = set()

    def handle(number: int, _frame: object) -> None:
        is_again = number in heard or (driver.is_interrupted and not heard)
        heard.add(number)
        driver.is_interrupted = True
        if is_again:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        numbers.add(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
