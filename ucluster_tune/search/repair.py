"""All that can be rebuilt from a study's record, compared with it and rebuilt."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.events import Event
from ucluster_tune.study.folder import best_config, log_to_study
from ucluster_tune.study.identity import COPIED, become_own_study
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.keeper import RecordKeeper
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.opening import study_config_of
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import closing_events
from ucluster_tune.tracking.dashboards.copy import DashboardCopy
from ucluster_tune.tracking.dashboards.stores import DashboardStore, dashboard_store
from ucluster_tune.tracking.mlflow.store import follow_moved_artifacts, uri_of_study
from ucluster_tune.tracking.mlflow.tracked_study import (
    DrawPictures,
    draw_best_epoch,
    study_metrics,
    study_mirror,
)

_MLFLOW_TIMEOUT_S = 600.0


WordsOf = Callable[[StudyRecord, StudyPaths], str]


@dataclass
class Repair:
    """What a repair found.

    Attributes:
        changed: what was mended, one line each.
        left: what is still wrong, one line each.
    """

    changed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def repair_study(
    paths: StudyPaths, folder: StudiesFolder, draw: DrawPictures, words_of: WordsOf
) -> Repair:
    """Rebuild what differs from the record of a study that nothing drives.

    Args:
        paths: of the study.
        folder: of all studies.
        draw: draws a trial's best epoch.
        words_of: the answer, as Markdown, where the study has a report.

    Raises:
        StudyError: it runs, or its record itself is damaged.
    """
    found = Repair()
    with DriverLock(paths), log_to_study(paths):
        record = read_record(paths.record)
        config = study_config_of(record, paths)
        with StudyJournal(paths.record) as journal:
            if journal.removed_rest:
                found.changed.append("record.jsonl: an event that a crash cut off, removed")
            for event in closing_events(record):
                journal.append(event)
                record.apply(event)
                found.changed.append(f"record.jsonl: {_line_of(event)}")
            copied = become_own_study(paths, record)
            if copied is not None:
                journal.append(copied)
                found.changed.append(f"record.jsonl: {COPIED.format(copied.original)}")
                config = study_config_of(record, paths)
            if paths.stop_request.exists():
                paths.stop_request.unlink()
                found.changed.append("stop.json: a wish to stop that nobody heard, removed")
            _mend_file(paths.study_yaml, dump_config(config), found)
            if record.best is not None:
                _mend_file(paths.best_yaml, best_config(config, record), found)
            _mend_folders(paths, record, found)
            _mend_optuna(paths, config, record, found)
            _mend_mlflow(paths, folder, draw, words_of, config, record, journal, found)
    return found


def _line_of(event: Event) -> str:
    facts = event.model_dump()
    whose = f"trial {facts['trial']}" if "trial" in facts else "the study"
    return f"{whose} {facts.get('outcome') or facts.get('state')}: {facts.get('cause')}"


def _mend_file(path: Path, text: str, found: Repair) -> None:
    try:
        if path.read_text(encoding="utf-8") == text:
            return
        what = "differed from the record"
    except (OSError, UnicodeDecodeError):
        what = "was missing"
    write_whole(path, text)
    found.changed.append(f"{path.name}: {what}, written anew")


def _mend_folders(paths: StudyPaths, record: StudyRecord, found: Repair) -> None:
    """Tell of checkpoints that are gone: nothing can bring them back."""
    for trial in record.trials.values():
        if trial.best_epoch is None:
            continue
        if not paths.trial(trial.id, trial.best_training.plan.id).has_checkpoint(trial.best_epoch):
            found.left.append(
                f"trial {trial.id}: the checkpoint of its best epoch, {trial.best_epoch}, is gone;"
                f" only training again (`ucluster-tune train`) gives it back"
            )


def _mend_optuna(
    paths: StudyPaths, config: StudyConfig, record: StudyRecord, found: Repair
) -> None:
    store = dashboard_store(config.tracking, paths, record.study_id)
    before = _optuna_trials(store)
    DashboardCopy(config, record, threading.RLock(), store).close()
    after = _optuna_trials(store)
    shown = paths.optuna_db.name if store.shown == str(paths.optuna_db) else store.shown
    if after is None:
        found.left.append(f"{shown}: cannot be written; see log.txt")
    elif before != after:
        found.changed.append(f"{shown}: differed from the record, written anew")


def _optuna_trials(store: DashboardStore) -> list[tuple[object, ...]] | None:
    """Return what Optuna's store says, None where it cannot be read."""
    try:
        opened = store.find()
    except Exception:  # noqa: BLE001  # held, or away
        return None
    if opened is None:
        return None
    return [
        (
            t.number,
            t.state,
            tuple(t.params.items()),
            t.values,
            tuple(t.intermediate_values.items()),
        )
        for t in opened[2]
    ]


def _mend_mlflow(
    paths: StudyPaths,
    folder: StudiesFolder,
    draw: DrawPictures,
    words_of: WordsOf,
    config: StudyConfig,
    record: StudyRecord,
    journal: StudyJournal,
    found: Repair,
) -> None:
    uri = uri_of_study(config.tracking.uri, record.tracking_uri, folder.root)
    with suppress(StudyError):  # the mirror tells why the store cannot be used
        moved = follow_moved_artifacts(uri)
        found.changed += [] if moved is None else [moved]
    keeper = RecordKeeper(journal, record)
    before_end = draw_best_epoch(paths, draw)
    mirror = study_mirror(config, keeper, paths, folder, before_end, None)
    mirror.start()
    is_whole = mirror.close(_MLFLOW_TIMEOUT_S)
    found.changed += mirror.changes
    if not is_whole:
        found.left.append(f"MLflow store {uri_without_password(uri)}: {mirror.last_failure}")
        return
    assert record.state != "running", "closed above"
    try:
        if not mirror.study_says(record.state):
            mirror.end_study(record.state, study_metrics(record))
            found.changed.append(f"MLflow: the study's run says {record.state} now")
        # A confirmation may have ended while the store was away: nothing else shows that.
        if paths.report_page.is_file() and mirror.tell_answer(
            paths.report, words_of(record, paths)
        ):
            found.changed.append("MLflow: the study's run has another answer and report now")
    except StudyError as error:
        found.left.append(str(error))
