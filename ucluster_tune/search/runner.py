"""A search from its configuration to its end: what `ucluster-tune run` does.

All that can be checked is checked before the study's folder exists, and the folder is complete
before the first trial starts.
"""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ucluster_tune import __version__
from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.plan import Machine, concurrent_trials
from ucluster_tune.config.search_space import trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.dataset import JetDataset, open_checked_dataset
from ucluster_tune.errors import StudyError, UClusterTuneError
from ucluster_tune.search.driver import DrawPictures, StudyDriver
from ucluster_tune.search.events import FinalState, StudyEnded, StudyEvaluated, StudyStarted
from ucluster_tune.search.journal import StudyJournal
from ucluster_tune.search.observers import Observer
from ucluster_tune.search.paths import StudiesFolder, StudyPaths, replace_file
from ucluster_tune.search.ray_session import embedded_ray
from ucluster_tune.search.record import StudyRecord
from ucluster_tune.search.study_folder import log_to_study, refuse_existing, study_folder
from ucluster_tune.search.tracking import Tracker
from ucluster_tune.search.tuning import Say, run_trials
from ucluster_tune.training.baselines import kmeans_mass
from ucluster_tune.trial.evaluate import evaluate_checkpoint
from ucluster_tune.trial.single import study_of_one

_LOGGER = logging.getLogger(__name__)


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
    refuse_existing(paths)
    n_concurrent = concurrent_trials(config, setting.machine)
    setting.say(f"Reading the jets of {config.data.path}")
    dataset = open_checked_dataset(config.data, config.resources.workers_per_trial)
    with ExitStack() as stack:
        stack.enter_context(study_folder(config, paths))
        stack.enter_context(log_to_study(paths))
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
            run_trials(config, driver, n_concurrent, setting.say)
            state, cause = _final_state(driver)
            if state == "complete":
                _evaluate_best(driver, dataset, setting.machine, setting.say)
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


def _final_state(driver: StudyDriver) -> tuple[FinalState, str | None]:
    record = driver.record
    if driver.is_interrupted and record.n_finished < record.n_trials:
        return "interrupted", "stopped by a signal"
    if record.best is None:
        causes = [trial.cause for trial in record.trials.values() if trial.cause]
        return "failed", f"no trial finished an epoch: {causes[0] if causes else 'no trial began'}"
    return "complete", None


def _evaluate_best(driver: StudyDriver, dataset: JetDataset, machine: Machine, say: Say) -> None:
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
    except UClusterTuneError as error:
        _LOGGER.error("%s", error)
        say(f"No accuracy on test jets: {error}")
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
        if isinstance(link, OSError) and str(link.filename).startswith(str(paths.root)):
            return StudyError(f"{link.filename}: cannot be written: {link.strerror}")
        link = link.__cause__ or link.__context__
    return None


def _close(driver: StudyDriver, tracker: Tracker, state: FinalState, cause: str | None) -> None:
    """Bring journal and MLflow to an end; what fails here must not hide why it came to this."""
    steps: tuple[Callable[[], None], ...] = (
        lambda: driver.end_running_trials(cause or "the search ended"),
        lambda: driver.note(StudyEnded(state=state, cause=cause)),
        lambda: _write_best(driver),
        lambda: tracker.end_study(driver.record.run_id, state, _study_metrics(driver.record)),
    )
    for step in steps:
        try:
            step()
        except (UClusterTuneError, OSError) as error:
            _LOGGER.error("the end of the study could not be written: %s", error)
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
