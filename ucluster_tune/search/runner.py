"""A search from its configuration to its end: what `ucluster-tune run` does.

All that can be checked is checked before the study's folder exists, and the folder is complete
before the first trial starts.
"""

import errno
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from ray import tune

from ucluster_tune import __version__
from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.plan import Machine, plan_study
from ucluster_tune.config.search_space import published_point, trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.dataset import JetDataset, open_dataset
from ucluster_tune.data.manifest import verify_files
from ucluster_tune.data.schema import SPLITS
from ucluster_tune.errors import MachineError, StudyError, TrialError, UClusterTuneError
from ucluster_tune.search.driver import DrawPictures, StudyDriver
from ucluster_tune.search.events import FinalState, StudyEnded, StudyEvaluated, StudyStarted
from ucluster_tune.search.journal import StudyJournal
from ucluster_tune.search.lock import DriverLock
from ucluster_tune.search.observers import Observer
from ucluster_tune.search.paths import StudiesFolder, StudyPaths, replace_file
from ucluster_tune.search.ray_session import embedded_ray
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.sampler import StudySampler
from ucluster_tune.search.scheduler import build_scheduler
from ucluster_tune.search.suggestions import OptunaSuggestions
from ucluster_tune.search.tracking import Tracker
from ucluster_tune.training.baselines import kmeans_mass
from ucluster_tune.trial.evaluate import evaluate_checkpoint
from ucluster_tune.trial.resources import placement
from ucluster_tune.trial.single import study_of_one
from ucluster_tune.trial.trainable import UClusterTrainable

_LOGGER = logging.getLogger(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True)
class SearchSetting:
    """Where a search runs and who is told.

    Attributes:
        folder: of all studies.
        machine: cores and GPUs that may be used.
        observers: told of every event.
        draw_pictures: draws a trial's best epoch.
        say: shows one line of what is being done.
    """

    folder: StudiesFolder
    machine: Machine
    observers: Sequence[Observer]
    draw_pictures: DrawPictures
    say: Say


def run_study(config: StudyConfig, setting: SearchSetting) -> StudyRecord:
    """Run a search to its end, or until SIGINT or SIGTERM; return the study's state.

    Raises:
        StudyError: the study exists, or its files cannot be written.
        DataError: the jets cannot be used.
        MachineError: a trial does not fit this machine, or Ray does not start.
    """
    assert config.name is not None, "load_study_config names every study"
    paths = setting.folder.study(config.name)
    _refuse_existing(paths)
    n_concurrent = _concurrent_trials(config, setting.machine)
    setting.say(f"Reading the jets of {config.data.path}")
    dataset = _checked_dataset(config)
    with ExitStack() as stack:
        stack.enter_context(_study_folder(config, paths))
        stack.enter_context(_log_file(paths))
        setting.say(f"Starting Ray on this machine ({setting.machine.n_cpus} CPUs) and MLflow")
        tracker_of = _in_thread(lambda: Tracker.open(config.tracking, setting.folder.root))
        stack.enter_context(embedded_ray(setting.machine.n_cpus))
        baseline = _kmeans_mass(config, dataset, "validation")
        tracker = tracker_of()
        started = _study_started(config, dataset, tracker, {"kmeans_mass": baseline})
        journal = stack.enter_context(StudyJournal(paths.record))
        journal.append(started)
        record = StudyRecord(started)
        tracker.log_artifacts(started.run_id, paths.study_yaml)
        driver = StudyDriver(
            config, paths, journal, record, tracker, setting.observers, setting.draw_pictures
        )
        driver.tell_start()
        state: FinalState = "failed"
        cause: str | None = None
        try:
            _search(config, driver, n_concurrent, setting.say)
            state, cause = _final_state(driver)
            if state == "complete":
                _evaluate_best(driver, dataset, setting.machine)
        except KeyboardInterrupt:
            state, cause = "interrupted", "stopped at once by a signal"
        except Exception as error:
            known = _known_error(error, paths)
            cause = str(known or error) or type(error).__name__
            if known is None or known is error:
                raise
            raise known from None
        finally:
            _close(driver, tracker, state, cause)
    return record


def _refuse_existing(paths: StudyPaths) -> None:
    if paths.root.exists():
        raise StudyError(
            f"study {paths.name} exists already, in {paths.root}: give the new one another name"
            f" with --name, or look at it with `ucluster-tune status {paths.name}`"
        )


def _concurrent_trials(config: StudyConfig, machine: Machine) -> int:
    plan = plan_study(config, machine)
    if plan.concurrent_trials < 1:
        raise MachineError(
            f"a trial takes {plan.cpus_per_trial:g} CPUs and {plan.gpus_per_trial:g} GPUs, this"
            f" machine has {machine.n_cpus} and {machine.n_gpus}: lower"
            " resources.workers_per_trial, cpus_per_worker or gpus_per_worker"
        )
    return plan.concurrent_trials


def _checked_dataset(config: StudyConfig) -> JetDataset:
    dataset = open_dataset(config.data)
    verify_files(config.data.path, dataset.manifest)
    dataset.check_values()
    for split in SPLITS:
        dataset.n_jets_by_rank(split, config.resources.workers_per_trial)
    return dataset


@contextmanager
def _study_folder(config: StudyConfig, paths: StudyPaths) -> Iterator[None]:
    """Make the study's folder and hold its lock; a folder without a record does not stay."""
    try:
        paths.root.mkdir(parents=True)
        paths.trials.mkdir()
    except OSError as error:
        raise StudyError(
            f"{paths.root}: cannot be made: {error.strerror}; choose another folder with"
            " --studies-dir"
        ) from error
    try:
        with DriverLock(paths):
            try:
                replace_file(paths.study_yaml, dump_config(config))
            except OSError as error:
                raise StudyError(
                    f"{paths.study_yaml}: cannot be written: {error.strerror}"
                ) from error
            yield
    finally:
        if not paths.record.exists():
            _remove_empty_study(paths)


def _remove_empty_study(paths: StudyPaths) -> None:
    for path in (paths.study_yaml, paths.log, paths.lock, paths.driver):
        path.unlink(missing_ok=True)
    for folder in (paths.trials, paths.root):
        try:
            folder.rmdir()
        except OSError:
            _LOGGER.debug("%s is not empty", folder)


@contextmanager
def _log_file(paths: StudyPaths) -> Iterator[None]:
    """Send the log of this process, Ray's and Tune's included, to the study's folder."""
    handler = _QuietFileHandler(paths.log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root, ray = logging.getLogger(), logging.getLogger("ray")
    before = [(logger, logger.handlers[:], logger.propagate) for logger in (root, ray)]
    level = root.level
    root.handlers = [handler]
    ray.handlers, ray.propagate = [], True  # ray.init takes its handlers away
    root.setLevel(logging.INFO)
    try:
        with redirect_stdout(handler.stream):  # Ray writes news of dead workers there
            yield
    finally:
        root.setLevel(level)
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        with suppress(OSError):
            handler.close()


class _QuietFileHandler(logging.FileHandler):
    """A log that cannot be written, on a full disk, is no reason to fill the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Do nothing; what cannot be written to the journal ends the search."""


def _in_thread(function: Callable[[], Tracker]) -> Callable[[], Tracker]:
    """Start `function` beside what follows; return what waits for its result."""
    result: list[Tracker] = []
    failure: list[BaseException] = []

    def call() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001  # raised again by the one who waits
            failure.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()

    def wait() -> Tracker:
        thread.join()  # Tracker.open has a limit of its own
        if failure:
            raise failure[0]
        return result[0]

    return wait


def _kmeans_mass(config: StudyConfig, dataset: JetDataset, split: str) -> dict[str, Any]:
    return kmeans_mass(
        dataset,
        split,
        config.model.n_clusters,
        config.training.evaluation_batch_size,
        config.training.seed,
    )


def _study_started(
    config: StudyConfig, dataset: JetDataset, tracker: Tracker, baselines: dict[str, Any]
) -> StudyStarted:
    assert config.name is not None
    checksum = dataset.manifest.dataset_checksum
    run_id = tracker.start_study(
        config.name,
        params={
            "sampler": config.sampler.name,
            "scheduler": config.scheduler.name,
            "n_trials": config.budget.n_trials,
            "n_epochs": config.training.n_epochs,
            "workers_per_trial": config.resources.workers_per_trial,
            "objective": config.objective.metric,
        },
        tags={
            "dataset_checksum": checksum,
            "code_version": __version__,
            "seed": config.training.seed,
        },
    )
    return StudyStarted(
        name=config.name,
        config=config.model_dump(mode="json"),
        code_version=__version__,
        dataset_checksum=checksum,
        tracking_uri=tracker.uri,
        experiment_id=tracker.experiment_id,
        run_id=run_id,
        seed=config.training.seed,
        reference_accuracy=config.reference.accuracy,
        baselines=baselines,
    )


def _search(config: StudyConfig, driver: StudyDriver, n_concurrent: int, say: Say) -> None:
    """Let Tune run all trials, until the first signal."""
    sampler = StudySampler(
        config,
        name=driver.paths.name,
        published_point=published_point(config),
        database=driver.paths.optuna_db,
    )
    suggestions = OptunaSuggestions(
        sampler,
        config.objective,
        config.budget.n_trials,
        driver.begin_trial,
        lambda: driver.is_interrupted,
    )
    tuner = tune.Tuner(
        tune.with_resources(UClusterTrainable, placement(config.resources)),
        tune_config=tune.TuneConfig(
            search_alg=suggestions,
            scheduler=build_scheduler(config),
            num_samples=-1,
            max_concurrent_trials=n_concurrent,
            trial_name_creator=lambda trial: str(trial.config["trial_id"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
        ),
        run_config=tune.RunConfig(
            name=driver.paths.ray.name,
            storage_path=str(driver.paths.root),
            callbacks=[driver],
            stop=_StopAtSignal(driver, say),
            verbose=0,
        ),
    )
    with _signals(driver):
        tuner.fit()
    suggestions.interrupt()
    sampler.close()


class _StopAtSignal(tune.Stopper):
    """Ends the search once a signal came; running epochs are finished, and recorded, first."""

    def __init__(self, driver: StudyDriver, say: Say) -> None:
        self._driver, self._say = driver, say
        self._has_told = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether a trial ends with the epoch that it has just finished."""
        return self._driver.is_interrupted

    def stop_all(self) -> bool:
        """Return whether the search ends now; Tune asks several times a second."""
        if self._driver.is_interrupted and not self._has_told:
            self._has_told = True
            self._say("Stopping after the running epochs; Ctrl-C again stops at once")
        return self._driver.is_interrupted and not self._driver.is_in_epoch

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles a search's settings, of which this is no part."""
        return {}


@contextmanager
def _signals(driver: StudyDriver) -> Iterator[None]:
    """Take the first SIGINT or SIGTERM as a wish to stop in order, the second as one to stop."""

    def handle(_number: int, _frame: object) -> None:
        if driver.is_interrupted:
            raise KeyboardInterrupt
        driver.is_interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _final_state(driver: StudyDriver) -> tuple[FinalState, str | None]:
    record = driver.record
    if driver.is_interrupted:
        return "interrupted", "stopped by a signal"
    if record.best is None:
        causes = [trial.cause for trial in record.trials.values() if trial.cause]
        return "failed", f"no trial finished an epoch: {causes[0] if causes else 'no trial began'}"
    return "complete", None


def _evaluate_best(driver: StudyDriver, dataset: JetDataset, machine: Machine) -> None:
    """Measure the best trial's best epoch on the test jets, which nothing was chosen on."""
    best = driver.record.best
    assert best is not None
    assert best.best_epoch is not None
    config = trial_config(driver.config, best.hyperparameters)
    baselines = {"kmeans_mass": _kmeans_mass(driver.config, dataset, "test")}
    try:
        test = evaluate_checkpoint(
            config,
            driver.paths.trial(best.id).checkpoint(best.best_epoch),
            "test",
            n_cpus=machine.n_cpus,
            timeout_s=driver.config.resources.epoch_timeout_s,
        )
    except TrialError as error:
        _LOGGER.error("%s", error)
        return
    driver.note(StudyEvaluated(trial=best.id, test=test, baselines=baselines))


def _known_error(error: Exception, paths: StudyPaths) -> UClusterTuneError | None:
    """Return what a user can mend, of all that Tune and other libraries raised on top of it."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, UClusterTuneError):
            return link
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return StudyError(f"{paths.root}: cannot be written: the disk is full: make room")
        link = link.__cause__ or link.__context__
    return None


def _close(driver: StudyDriver, tracker: Tracker, state: FinalState, cause: str | None) -> None:
    """Bring journal and MLflow to an end; what fails here must not hide why it came to this."""
    try:
        driver.end_running_trials(cause or "the search ended")
        driver.note(StudyEnded(state=state, cause=cause))
        _write_best(driver)
        tracker.end_study(driver.record.run_id, state, _study_metrics(driver.record))
    except (UClusterTuneError, OSError) as error:
        _LOGGER.error("the end of the study could not be written: %s", error)
    finally:
        driver.tell_end()


def _write_best(driver: StudyDriver) -> None:
    best = driver.record.best
    if best is not None:
        config = trial_config(driver.config, best.hyperparameters)
        replace_file(driver.paths.best_yaml, dump_config(study_of_one(driver.config, config)))


def _study_metrics(record: StudyRecord) -> dict[str, float]:
    metrics = {"reference_accuracy": record.reference_accuracy}
    if record.best is not None and record.best.best is not None:
        metrics["best_validation_clustering_accuracy"] = record.best.best["clustering_accuracy"]
    if record.best_test is not None:
        metrics["best_test_clustering_accuracy"] = record.best_test["clustering_accuracy"]
    return metrics
