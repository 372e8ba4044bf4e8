"""A search from its configuration to its end: what `run`, `resume` and `extend` do.

All that can be checked is checked before the study's folder exists, or before anything in it
changes, and the folder is complete before the first trial starts.
"""

import socket
from collections.abc import Callable
from contextlib import ExitStack

from ucluster_tune import __version__
from ucluster_tune.cluster.capacity import capacity_watch
from ucluster_tune.cluster.connection import JoinedRay, joined_ray
from ucluster_tune.cluster.embedded import EmbeddedRay, embedded_ray
from ucluster_tune.cluster.fitness.checks import CheckRequest, quick_check
from ucluster_tune.config.capacity import ClusterCapacity
from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.plan import concurrent_trials
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.making.preparation import plan_preparation
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.search.room import Room
from ucluster_tune.search.session import SearchSetting, Session, mass_baseline
from ucluster_tune.storage.patience import begin
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.events import (
    Event,
    StudyResumed,
    StudyStarted,
    WarmStart,
)
from ucluster_tune.study.extension import Extension, extend
from ucluster_tune.study.folder import (
    log_to_study,
    refuse_existing,
    study_folder,
)
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.knowledge import differences, warm_start_from
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.resuming import refuse_finished, refuse_other_jets, study_config_of
from ucluster_tune.study.status import closing_events, find_study, read_study
from ucluster_tune.tracking.dashboards.stores import refuse_absent_database
from ucluster_tune.tracking.mlflow.tracker import Tracker

Prepare = Callable[[StudyConfig], StudyConfig]


def run_study(
    config: StudyConfig,
    setting: SearchSetting,
    warm_start: str | None = None,
    prepare: Prepare = lambda config: config,
) -> StudyRecord:
    """Run a search to its end, or until it is asked to stop; return the study's state.

    Args:
        config: of the study.
        setting: where it runs, and who is told.
        warm_start: the name of a study whose trials the sampler knows from the start.
        prepare: called once it is clear that the search can run; makes the jets that are not there
            yet, for hours perhaps, and returns the configuration that reads them.

    Raises:
        StudyError: the study exists, or its files cannot be written.
        DataError: the jets cannot be used.
        MachineError: a trial does not fit any node, the nodes are not fit for the search, or Ray
            does not start.
    """
    assert config.name is not None, "load_study_config names every study"
    paths = setting.folder.study(config.name)
    refuse_existing(paths)
    knowledge = _knowledge_of(warm_start, config, setting) if warm_start else None
    refuse_absent_database(config.tracking)
    with ExitStack() as stack:
        joined = _join(setting, stack)
        look = _look(setting, joined)
        concurrent_trials(config, look())  # refuses trials that cannot ever run
        if joined:
            _check_before_jets(config, setting)
        config = prepare(config)
        room = Room(config, look, setting.say)
        setting.say(f"Reading the jets of {config.data.path}")
        dataset = open_checked_dataset(config.data, config.resources.workers_per_trial)
        if joined:
            quick_check(CheckRequest.of(room.config, setting.folder.place))
        stack.enter_context(study_folder(config, paths))
        stack.enter_context(log_to_study(paths))
        tracker_of = begin(
            lambda: Tracker.open(config.tracking, setting.folder.root), "open-tracker"
        ).result  # which has a limit of its own
        ray = joined or _start(setting, stack)
        baseline = mass_baseline(config, dataset, "validation")
        tracker = tracker_of()
        started = StudyStarted(
            name=config.name,
            config=config.model_dump(mode="json"),
            code_version=__version__,
            dataset_checksum=dataset.manifest.dataset_checksum,
            tracking_uri=tracker.uri,
            experiment_id=tracker.experiment_id,
            seed=config.training.seed,
            reference_accuracy=config.reference.accuracy,
            baselines={"kmeans_mass": baseline},
            warm_start=knowledge,
        )
        journal = stack.enter_context(StudyJournal(paths.record))
        journal.append(started)
        record = StudyRecord(started)
        session = Session(room.config, paths, dataset, journal, record, setting, tracker)
        session.drive(room, ray)
    return record


def resume_study(
    name: str, setting: SearchSetting, extension: Extension | None = None
) -> StudyRecord:
    """Carry a study on: interrupted trials first, then new ones up to its budget.

    Args:
        name: of the study.
        setting: where it runs, and who is told.
        extension: a new budget or changes of the configuration, recorded first.

    Raises:
        StudyError: the study is unknown, runs already, has nothing left to do, or its jets are not
            those that it began with.
        ConfigurationError: the extension would make its trials incomparable.
        DataError, MachineError: as for `run_study`.
    """
    paths = find_study(setting.folder, name)
    with ExitStack() as stack:
        stack.enter_context(DriverLock(paths))
        record = read_record(paths.record)
        events: list[Event] = closing_events(record)
        config = study_config_of(record, paths)
        if extension is not None:
            extended = extend(config, record, extension)
            config = StudyConfig.model_validate(extended.config)
            events.append(extended)
        for event in events:
            record.apply(event)
        refuse_finished(record)
        joined = _join(setting, stack)
        room = Room(config, _look(setting, joined), setting.say)
        setting.say(f"Reading the jets of {config.data.path}")
        dataset = open_checked_dataset(config.data, config.resources.workers_per_trial)
        refuse_other_jets(record, dataset, config)
        if joined:
            quick_check(CheckRequest.of(room.config, setting.folder.place))
        paths.stop_request.unlink(missing_ok=True)
        stack.enter_context(log_to_study(paths))
        ray = joined or _start(setting, stack)
        journal = stack.enter_context(StudyJournal(paths.record))
        resumed = StudyResumed(code_version=__version__, host=socket.gethostname())
        record.apply(resumed)
        for event in (*events, resumed):
            journal.append(event)
        if extension is not None:
            write_whole(paths.study_yaml, dump_config(config))
        setting.say(_what_goes_on(record))
        session = Session(room.config, paths, dataset, journal, record, setting, None)
        session.drive(room, ray)
    return record


def _look(setting: SearchSetting, joined: JoinedRay | None) -> Callable[[], ClusterCapacity]:
    return capacity_watch() if joined else setting.machine.capacity


def _check_before_jets(config: StudyConfig, setting: SearchSetting) -> None:
    """Check all that can be before jets are fetched for hours, where they are to be fetched."""
    jets = plan_preparation(config.data)
    if jets.is_ready:
        return
    assert jets.dataset is not None
    made_in = str(jets.dataset.parent if jets.kept is None else jets.kept)
    request = CheckRequest(setting.folder.place, resources=config.resources, datasets=made_in)
    quick_check(request)


def _join(setting: SearchSetting, stack: ExitStack) -> JoinedRay | None:
    """Say where the search runs and why; join the Ray there, None where it will have its own.

    Before anything of the study exists: a cluster that refuses leaves nothing behind.
    """
    place, machine = setting.place, setting.machine
    if place.address is None:
        setting.say(
            f"Running on a Ray of its own on this machine: {machine.n_cpus} CPUs,"
            f" {machine.n_gpus} GPUs ({place.why})"
        )
        return None
    joined = stack.enter_context(joined_ray(place.address))
    setting.say(f"Running on the Ray at {place.address}: {joined.told()} ({place.why})")
    return joined


def _start(setting: SearchSetting, stack: ExitStack) -> EmbeddedRay:
    return stack.enter_context(embedded_ray(setting.machine.n_cpus))


def _knowledge_of(name: str, config: StudyConfig, setting: SearchSetting) -> WarmStart:
    """Return what study `name` teaches, and say where its trials may not be comparable."""
    paths = find_study(setting.folder, name)
    record = read_study(paths)
    knowledge = warm_start_from(record, config)
    differing = differences(config, study_config_of(record, paths))
    if differing:
        setting.say(
            f"Warning: trials of study {name} differ from the new ones in {', '.join(differing)}:"
            " what they teach may be misleading"
        )
    return knowledge


def _what_goes_on(record: StudyRecord) -> str:
    interrupted = [trial for trial in record.trials.values() if trial.outcome == "interrupted"]
    text = f"{record.n_finished} trials stay as they are"
    if interrupted:
        places = ", ".join(f"{trial.id} from epoch {trial.epochs}" for trial in interrupted)
        text += f", {len(interrupted)} go on: {places}"
    n_new = record.n_trials - len(record.trials)
    return f"{text}, {n_new} begin" if n_new > 0 else text
