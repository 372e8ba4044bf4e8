"""What a study measured, as CSV with all digits: for readers that are not this program."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.yardsticks import best_on_test, yardstick_bars
from ucluster_tune.study.finalists import ConfirmationResult
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import TrainingState, TrialState
from ucluster_tune.training.record import EpochRecord

EPOCHS_CSV: Final = "metrics/epochs.csv"
EPOCH_COLUMNS: Final = tuple(
    field.name
    for field in fields(EpochRecord)
    if field.name not in ("confusion", "class_names", "warnings")
)
_AT_BEST: Final = (
    "clustering_accuracy",
    "clustering_accuracy_batched",
    "purity",
    "nmi",
    "ari",
    "silhouette",
    "stability",
)
_FINALIST: Final = (
    *("confirmation", "trial", "is_chosen", "what", "protocol", "n_seeds", "n_test_jets", "mean"),
    *("low", "high", "spread", "validation", "search_score", "optimism"),
)
_COMPARISON: Final = (
    *("confirmation", "chosen", "other", "what", "protocol", "difference", "low", "high"),
    *("probability_above_zero", "verdict", "is_on_same_jets"),
)
_YARDSTICK: Final = ("accuracy", "low", "high", "batched", "purity", "nmi", "ari", "n_jets")


def csv_files(contents: StudyContents) -> dict[str, str]:
    """Return the tables by the names of their files; what is not known is an empty cell."""
    record = contents.record
    searched = dict.fromkeys(name for trial in _trials(record) for name in trial.at_best)
    return {
        EPOCHS_CSV: _csv(
            ("trial", "training", "role", *EPOCH_COLUMNS),
            (
                (trial.id, training.plan.id, training.plan.role, *_values(epoch, EPOCH_COLUMNS))
                for trial, training in _trainings(record)
                for epoch in training.records
            ),
        ),
        "metrics/trials.csv": _csv(
            ("trial", "outcome", "epochs", "best_epoch", *_AT_BEST, *searched),
            (
                (
                    *(trial.id, trial.outcome, trial.epochs, trial.best_epoch),
                    *(_values(trial.best, _AT_BEST) if trial.best else [None] * len(_AT_BEST)),
                    *(trial.at_best.get(name) for name in searched),
                )
                for trial in _trials(record)
            ),
        ),
        "metrics/confusion.csv": _csv(
            ("trial", "training", "epoch", "cluster", "class", "validation_jets"),
            _confusions(record),
        ),
        "metrics/test.csv": _csv(("what", *_YARDSTICK), _on_test(contents)),
        "metrics/finalists.csv": _csv(_FINALIST, _finalists(record)),
        "metrics/comparisons.csv": _csv(_COMPARISON, _comparisons(record)),
    }


def _finalists(record: StudyRecord) -> Iterator[Sequence[Any]]:
    for confirmation, result in _results(record):
        for own in result.contenders:
            for protocol, found in own.test.items():
                about = (confirmation, own.trial, own.trial == result.chosen, own.title, protocol)
                numbers = (len(own.seeds), result.n_test_jets, found.mean, *found.interval)
                in_search = (own.validation, own.search_score, own.optimism)
                yield *about, *numbers, found.spread, *in_search


def _comparisons(record: StudyRecord) -> Iterator[Sequence[Any]]:
    for confirmation, result in _results(record):
        for found in result.comparisons:
            difference = found.difference
            about = (confirmation, result.chosen, found.to, found.title, found.protocol)
            numbers = (difference.mean, *difference.interval, difference.probability_above_zero)
            yield *about, *numbers, found.verdict, found.is_on_same_jets


def _results(record: StudyRecord) -> Iterator[tuple[str, ConfirmationResult]]:
    for name, confirmation in record.confirmations.items():
        if confirmation.result is not None:
            yield name, confirmation.result


def _trials(record: StudyRecord) -> list[TrialState]:
    return [*record.trials.values(), *record.other_trials.values()]


def _trainings(record: StudyRecord) -> Iterator[tuple[TrialState, TrainingState]]:
    for trial in _trials(record):
        for training in trial.trainings.values():
            yield trial, training


def _confusions(record: StudyRecord) -> Iterator[Sequence[Any]]:
    """Yield the cells of each training's best epoch."""
    for trial, training in _trainings(record):
        best = training.best
        for cluster, row in enumerate(best.confusion if best else []):
            for name, n_jets in zip(best.class_names if best else [], row, strict=True):
                yield trial.id, training.plan.id, best and best.epoch, cluster, name, n_jets


def _on_test(contents: StudyContents) -> Iterator[Sequence[Any]]:
    own = best_on_test(contents)
    for bar in [*([own] if own else []), *yardstick_bars(contents, "test")]:
        numbers = (bar.accuracy, *bar.interval, bar.batched, bar.purity, bar.nmi, bar.ari)
        yield bar.title, *numbers, bar.n_jets


def _values(epoch: EpochRecord, names: Iterable[str]) -> list[Any]:
    """Return values, None where one is no finite number."""
    found = ((name, getattr(epoch, name)) for name in names)
    return [epoch.value(n) if isinstance(value, float) else value for n, value in found]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
