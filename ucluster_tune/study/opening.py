"""A study that is to be driven, and what must hold before: a new one, or one that is carried on.

A new study is one that has no record yet, and so nothing to resume. Knows nothing of Ray.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.points import trial_config
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.budget import may_go_on, overspent, used_up
from ucluster_tune.study.confirming import (
    ConfirmationRequest,
    known_trainings,
    plan_confirmation,
)
from ucluster_tune.study.events import (
    ConfirmationPlanned,
    Event,
    StudyCopied,
    StudyExtended,
    StudyResumed,
    StudyStarted,
    WarmStart,
)
from ucluster_tune.study.extension import Extension, extend
from ucluster_tune.study.finalists import ConfirmationPlan
from ucluster_tune.study.folder import refuse_existing
from ucluster_tune.study.identity import COPIED, become_own_study
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.knowledge import warm_start_from
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import closing_events, find_study, read_study

if TYPE_CHECKING:
    from ucluster_tune.data.reading.dataset import JetDataset


@dataclass(frozen=True)
class StudyToDrive:
    """A study that may begin or go on.

    Attributes:
        paths: its files.
        config: as it was asked for.
        record: what its journal and `news` tell; None for a new one.
        news: events that the journal lacks.
        warm_start: what another study teaches a new one.
        remarks: what the user should know, one line each.
        confirmation: of finalists, where that is what is to be done.
    """

    paths: StudyPaths
    config: StudyConfig
    record: StudyRecord | None = None
    news: tuple[Event, ...] = ()
    warm_start: WarmStart | None = None
    remarks: tuple[str, ...] = ()
    confirmation: ConfirmationPlan | None = None

    @property
    def checksum(self) -> str | None:
        """Of the jets that it is to run on; None where they are still to be chosen."""
        if self.confirmation is not None:
            return self.confirmation.dataset_checksum
        return None if self.record is None else self.record.dataset_checksum

    @property
    def has_other_jets(self) -> bool:
        """Whether it is to run on jets that the study has not read before."""
        return self.record is None or self.checksum != self.record.dataset_checksum

    def begin(self, journal: StudyJournal, opening: StudyStarted | StudyResumed) -> StudyRecord:
        """Write to the journal that a driver begins; return the record with that in it."""
        for event in (*self.news, opening):
            journal.append(event)
        if any(isinstance(event, StudyExtended | StudyCopied) for event in self.news):
            write_whole(self.paths.study_yaml, dump_config(self.config))
        if self.record is not None:
            self.record.apply(opening)
            return self.record
        assert isinstance(opening, StudyStarted)
        return StudyRecord(opening)


def new_study(
    folder: StudiesFolder, config: StudyConfig, warm_start: str | None = None
) -> StudyToDrive:
    """Return a study that is to begin; nothing of it is made yet.

    Args:
        folder: of all studies.
        config: of the study.
        warm_start: the name of a study whose trials the sampler knows from the start.

    Raises:
        StudyError: the study exists, or the other one is unknown or has nothing to teach.
    """
    assert config.name is not None, "load_study_config names every study"
    paths = folder.study(config.name)
    refuse_existing(paths)
    if warm_start is None:
        return StudyToDrive(paths, config)
    record = read_study(find_study(folder, warm_start))
    knowledge = warm_start_from(record, config)
    remarks = []
    if knowledge.differing:
        remarks.append(
            f"Warning: trials of study {warm_start} differ from the new ones in"
            f" {', '.join(knowledge.differing)}: what they teach may be misleading"
        )
    if knowledge.published and config.sampler.published_first:
        remarks.append(
            f"The published recipe is not run again: it is trial {knowledge.published} of study"
            f" {warm_start}"
        )
    return StudyToDrive(paths, config, warm_start=knowledge, remarks=tuple(remarks))


@contextmanager
def known_study(
    folder: StudiesFolder, name: str, extension: Extension | None = None
) -> Iterator[StudyToDrive]:
    """Give a study that is to be carried on, locked for this process.

    Args:
        folder: of all studies.
        name: of the study.
        extension: a new budget or changes of the configuration.

    Raises:
        StudyError: the study is unknown, runs already, or has nothing left to do.
        ConfigurationError: the extension would make its trials incomparable.
    """
    paths = find_study(folder, name)
    with DriverLock(paths):
        record, news, remarks = _read_to_drive(paths)
        config = study_config_of(record, paths)
        if extension is not None:
            extended = extend(config, record, extension)
            config = StudyConfig.model_validate(extended.config)
            news.append(extended)
            record.apply(extended)
        refuse_finished(record)
        remarks.append(_what_goes_on(record))
        yield StudyToDrive(paths, config, record, tuple(news), remarks=tuple(remarks))


def _read_to_drive(paths: StudyPaths) -> tuple[StudyRecord, list[Event], list[str]]:
    """Return the record of a study, what its journal lacks of it, and what to tell the user."""
    record = read_record(paths.record)
    news: list[Event] = closing_events(record)
    for event in news:
        record.apply(event)
    copied = become_own_study(paths, record)
    if copied is None:
        return record, news, []
    told = f"Study {paths.name} {COPIED.format(copied.original)}"
    return record, [*news, copied], [told]


@contextmanager
def study_to_confirm(
    folder: StudiesFolder, name: str, request: ConfirmationRequest
) -> Iterator[StudyToDrive]:
    """Give a study whose finalists are to be trained again, locked for this process.

    Args:
        folder: of all studies.
        name: of the study.
        request: which finalists, how often, on what.

    Raises:
        StudyError: the study is unknown, runs, has nothing to confirm, or has another confirmation
            that is not finished.
        DataError: there are no such jets.
        ConfigurationError: so many epochs are too few.
    """
    paths = find_study(folder, name)
    with DriverLock(paths):
        record, news, remarks = _read_to_drive(paths)
        config = study_config_of(record, paths)
        checksum, is_labelled = record.dataset_checksum, record.is_labelled
        if request.data_path is not None:
            from ucluster_tune.data.format.manifest import read_manifest  # loads Arrow

            manifest = read_manifest(request.data_path)
            checksum, is_labelled = manifest.dataset_checksum, bool(manifest.classes)
        if not is_labelled:
            raise StudyError(
                f"study {name}: a confirmation tells the share of test jets in the right cluster,"
                " and these jets have no classes; name jets that have, such as simulated ones,"
                f" with --data PATH, or rank its trials with `ucluster-tune select {name}"
                " --without-labels`"
            )
        n_classes = _n_classes(config, request.data_path) if request.is_supervised else None
        plan = plan_confirmation(record, config, request, checksum, n_classes)
        trial, training = plan.trainings()[0]
        best = record.trials[trial].hyperparameters
        trial_config(config, {**best, **training.hyperparameters})  # refuses what cannot be
        if plan.id not in record.confirmations:
            news.append(ConfirmationPlanned(plan=plan))
            record.apply(news[-1])
        resources = config.resources.model_copy(update={"workers_per_trial": plan.world_size})
        config = config.model_copy(update={"resources": resources})
        if plan.data_path is not None:
            config = config.reading(plan.data_path)
        known = known_trainings(record, plan)
        n_ended = sum(t.outcome in ("complete", "failed") for t in known.values())
        seeds = "1 seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
        told = (
            f"Confirmation {plan.id}: {' and '.join(plan.contenders)}, {seeds}"
            f" each; {n_ended} of {len(plan.trainings())} trainings are done"
        )
        yield StudyToDrive(paths, config, record, tuple(news), None, (*remarks, told), plan)


def _n_classes(config: StudyConfig, data_path: str | None) -> int:
    from ucluster_tune.data.reading.dataset import open_dataset  # loads Arrow

    there = config if data_path is None else config.reading(data_path)
    names = open_dataset(there.data).class_names
    if len(names) < 2:
        raise StudyError(
            f"{there.data.path}: --supervised needs jets of two classes or more, these have"
            f" {len(names)}: leave it out"
        )
    return len(names)


def _what_goes_on(record: StudyRecord) -> str:
    interrupted = [trial for trial in record.trials.values() if trial.outcome == "interrupted"]
    text = f"{record.n_finished} trials stay as they are"
    if interrupted:
        places = ", ".join(f"{trial.id} from epoch {trial.epochs}" for trial in interrupted)
        text += f", {len(interrupted)} go on: {places}"
    n_new = record.n_trials - len(record.trials)
    return f"{text}, {n_new} begin" if n_new > 0 else text


def study_config_of(record: StudyRecord, paths: StudyPaths) -> StudyConfig:
    """Return the configuration that the record holds.

    Raises:
        StudyError: this version of the program does not know all of it.
    """
    try:
        return StudyConfig.model_validate(record.config)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise StudyError(
            f"{paths.record}: its configuration does not fit this version: {where}:"
            f" {fault['msg']};"
            f" the study was made by ucluster-tune {record.code_version}: install that"
        ) from error


def refuse_finished(record: StudyRecord) -> None:
    """Raise StudyError where nothing of the study is left to do."""
    if (reason := overspent(record)) is not None:
        raise StudyError(
            f"study {record.name} goes on with a larger budget: {reason}; raise it with"
            f" `ucluster-tune extend {record.name} --set budget.{{gpu_hours,core_hours,cost}}=N`"
        )
    if may_go_on(record):
        return
    if record.open_confirmation is not None:
        raise StudyError(
            f"the search of study {record.name} is finished, the confirmation of its finalists is"
            f" not: carry that on with `ucluster-tune confirm {record.name}`"
        )
    raise StudyError(
        f"study {record.name} has no trial left to run: {used_up(record)}, and all have ended;"
        f" give it more with `ucluster-tune extend {record.name} --trials N`, or look at it with"
        f" `ucluster-tune status {record.name}`"
    )


def refuse_other_jets(study: StudyToDrive, dataset: "JetDataset", config: StudyConfig) -> None:
    """Raise StudyError where the jets are not those that the study, or its confirmation, has."""
    now, record = dataset.manifest.dataset_checksum, study.record
    if record is None or study.checksum is None or now == study.checksum:
        return
    raise StudyError(
        f"{config.data.path} holds other jets than those that study {record.name} began with"
        f" (checksum {now[:12]}, was {study.checksum[:12]}): their accuracies cannot be"
        f" compared. Bring the old ones back, name where they are now with"
        f" `ucluster-tune resume {record.name} --data PATH`, or start another study with"
        f" `ucluster-tune run FILE --warm-start {record.name}`"
    )
