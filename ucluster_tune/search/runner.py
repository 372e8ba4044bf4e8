"""A search from its configuration to its end: the one road of `run`, `resume` and `extend`.

All that can be checked is checked before the study's folder exists, or before anything in it
changes, and the folder is complete before the first trial starts.
"""

import socket
from concurrent.futures import Future
from contextlib import ExitStack

from ucluster_tune import __version__
from ucluster_tune.config.plan import FittedStudy
from ucluster_tune.data.reading.dataset import JetDataset, open_checked_dataset
from ucluster_tune.search.confirmation import Confirmation
from ucluster_tune.search.room import SearchNodes, SearchSetting
from ucluster_tune.search.session import Session
from ucluster_tune.storage.patience import begin
from ucluster_tune.study.events import Purpose, StudyResumed, StudyStarted
from ucluster_tune.study.folder import log_to_study, study_folder
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.opening import StudyToDrive, refuse_other_jets
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.mass_clusters import kmeans_mass


def drive_study(
    study: StudyToDrive, fitted: FittedStudy, nodes: SearchNodes, setting: SearchSetting
) -> StudyRecord:
    """Drive a study to its end, or until it is asked to stop; return its state.

    Interrupted trials go on first, then new ones begin up to its budget; a new study is one that
    has none to resume yet.

    Args:
        study: new, or locked for this process.
        fitted: its configuration on `nodes`, with jets that are there.
        nodes: to run it on.
        setting: who is told.

    Raises:
        StudyError: its files cannot be written, another process made it meanwhile, or its jets
            are not those that it began with.
        DataError: the jets cannot be used.
        MachineError: the nodes are not fit for the search, or Ray does not start.
    """
    paths, config, known = study.paths, fitted.config, study.record
    with ExitStack() as stack:
        room = nodes.room(fitted)
        setting.say(f"Reading the jets of {config.data.path}")
        checked = None if study.has_other_jets else study.checksum
        dataset = open_checked_dataset(
            config.data, config.resources.n_workers, checked, config.objective.needing_labels
        )
        refuse_other_jets(study, dataset, config)
        nodes.check(config)
        if known is None:
            stack.enter_context(study_folder(fitted.asked, paths))
        paths.stop_request.unlink(missing_ok=True)
        stack.enter_context(log_to_study(paths))
        tracking = None
        if known is None:  # beside what follows, since that loads MLflow
            root = setting.folder.root
            tracking = begin(lambda: Tracker.open(config.tracking, root), "open-tracker")
        ray = stack.enter_context(nodes.running_ray())
        opening, tracker = _opening(study, fitted, dataset, tracking)
        journal = stack.enter_context(StudyJournal(paths.record))
        record = study.begin(journal, opening)
        for remark in study.remarks:
            setting.say(remark)
        if study.confirmation is not None:
            Confirmation(fitted, paths, journal, record, setting).drive(room, ray)
        else:
            Session(fitted, paths, journal, record, setting, tracker).drive(room, ray)
    return record


def _opening(
    study: StudyToDrive,
    fitted: FittedStudy,
    dataset: JetDataset,
    tracking: "Future[Tracker] | None",
) -> tuple[StudyStarted | StudyResumed, Tracker | None]:
    """Return the event that this driver begins with, and the store of a study that is new."""
    if tracking is None:
        host = socket.gethostname()
        purpose: Purpose = "search" if study.confirmation is None else "confirmation"
        resumed = StudyResumed(
            code_version=__version__, host=host, fitted=fitted.fitted, purpose=purpose
        )
        return resumed, None
    config = fitted.asked
    assert config.name is not None, "load_study_config names every study"
    baselines = {}
    if dataset.is_labelled:
        baselines["kmeans_mass"] = kmeans_mass(
            dataset,
            "validation",
            config.model.n_clusters,
            config.training.evaluation_batch_size,
            config.training.seed,
        )
    tracker = tracking.result()  # Tracker.open has a limit of its own
    started = StudyStarted(
        name=config.name,
        config=config.model_dump(mode="json"),
        fitted=fitted.fitted,
        code_version=__version__,
        dataset_checksum=dataset.manifest.dataset_checksum,
        tracking_uri=tracker.uri,
        experiment_id=tracker.experiment_id,
        seed=config.training.seed,
        reference_accuracy=config.reference.accuracy,
        baselines=baselines,
        warm_start=study.warm_start,
        is_labelled=dataset.is_labelled,
    )
    return started, tracker
