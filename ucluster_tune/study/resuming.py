"""What must hold before a study is carried on."""

from pydantic import ValidationError

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import utc_now
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord


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
    is_unfinished = any(trial.outcome == "interrupted" for trial in record.trials.values())
    if is_unfinished:
        return
    if record.until is not None:
        if record.until > utc_now():  # both in UTC, to the millisecond
            return
    elif len(record.trials) < record.n_trials:
        return
    if record.state != "complete" and record.best is not None and record.best_test is None:
        return  # the measure on test jets is left
    raise StudyError(
        f"study {record.name} has no trial left to run: all {record.n_trials} have ended;"
        f" give it more with `ucluster-tune extend {record.name} --trials N`, or look at it with"
        f" `ucluster-tune status {record.name}`"
    )


def refuse_other_jets(record: StudyRecord, dataset: JetDataset, config: StudyConfig) -> None:
    """Raise StudyError where the jets are not those that the study began with."""
    now = dataset.manifest.dataset_checksum
    if now == record.dataset_checksum:
        return
    raise StudyError(
        f"{config.data.path} holds other jets than those that study {record.name} began with"
        f" (checksum {now[:12]}, was {record.dataset_checksum[:12]}): their accuracies cannot be"
        f" compared. Bring the old ones back, name where they are now with"
        f" `ucluster-tune resume {record.name} --data PATH`, or start another study with"
        f" `ucluster-tune run FILE --warm-start {record.name}`"
    )
