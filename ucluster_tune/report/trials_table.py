"""The table of a study's trials, and what went wrong with some of them."""

import math
from collections.abc import Sequence
from typing import get_args

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.trainings import Outcome, TrialState
from ucluster_tune.training.record import Rank
from ucluster_tune.trial.failures import in_one_line

MAX_ROWS = 40
BEST = "*"
_SPREAD = "seeds"
_IN_ALL_COLUMNS = ("clustering_accuracy", "clustering_accuracy_batched")
_ALL_COLUMNS = ("trial", "outcome", "epochs", "accuracy", "in\nbatches")
_N_WITHOUT_LABELS = 3  # of them
# How many of them, and whether hyperparameters and further metrics have columns of their own.
_LAYOUTS = ((5, True, True), (4, True, True), (5, False, True), (5, False, False))


class _TrialsTable:
    """One row a trial; what does not fit in columns of its own stands below each other."""

    def __init__(self, record: StudyRecord, trials: Sequence[TrialState]) -> None:
        self._record = record
        self._trials = trials
        self._names = list(dict.fromkeys(name for t in trials for name in t.at_best))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=1000)
        for n_columns, has_settings, has_metrics in _LAYOUTS:
            table = self._table(_ALL_COLUMNS[:n_columns], has_settings, has_metrics)
            if console.measure(table, options=unbounded).maximum <= options.max_width:
                break
        yield table

    def _table(self, columns: Sequence[str], has_settings: bool, has_metrics: bool) -> Table:
        """Return a table in which settings, and metrics beside the accuracy, may have columns."""
        metric = self._record.objective.metric
        extra: list[str] = [] if metric.startswith("clustering_accuracy") else [metric]
        extra += [m for m in self._record.objective.others if m not in _IN_ALL_COLUMNS]
        extra += [_SPREAD] if self._record.objective.seeds_per_trial > 1 else []
        short = [name.rpartition(".")[2] for name in self._names]
        stacked = "hyperparameters" if has_metrics or not extra else "metrics, hyperparameters"
        further = [*(extra if has_metrics else []), *(short if has_settings else [])]
        names = [name.replace("_", "\n") for name in further]
        names += [] if has_settings else [stacked]
        columns = columns if self._record.is_labelled else columns[:_N_WITHOUT_LABELS]
        table = cells.plain_table(*columns, *names, left=("outcome", stacked))
        for trial in self._trials:
            is_best = trial is self._record.best
            told = (
                f"{BEST} {trial.id}" if is_best else trial.id,
                cells.outcome(trial),
                cells.epochs(trial),
                cells.percent(trial.value("clustering_accuracy")),
                cells.percent(trial.value("clustering_accuracy_batched")),
            )
            table.add_row(
                *told[: len(columns)],
                *self._further(trial, extra, short, has_settings, has_metrics),
                style="bold green" if is_best else "",
            )
        return table

    def _further(
        self,
        trial: TrialState,
        extra: Sequence[str],
        short: Sequence[str],
        has_settings: bool,
        has_metrics: bool,
    ) -> list[Text]:
        of_seeds = self._record.objective.metric
        metrics = [
            cells.spread(of_seeds, trial)
            if name == _SPREAD
            else cells.metric(name, trial.value(name))
            for name in extra
        ]
        values = [cells.setting(trial.at_best.get(name, "")) for name in self._names]
        in_columns = [*(metrics if has_metrics else []), *(values if has_settings else [])]
        below = [] if has_metrics else list(zip(extra, metrics, strict=True))
        below += [] if has_settings else list(zip(short, values, strict=True))
        lines = "\n".join(f"{name} {value}" for name, value in below if value)  # not all have all
        stack = [] if has_settings else [lines]
        return [Text(value) for value in (*in_columns, *stack)]


def trials_table(record: StudyRecord, *, is_ranked: bool = False) -> RenderableType:
    """Return a row for each trial, as far as they fit a few screens, with the best one marked.

    Args:
        record: of the study.
        is_ranked: whether the best trial comes first and the worst last, in place of their order.
    """
    trials = list(record.trials.values())
    if not trials:
        return Text("No trial yet.")
    if is_ranked:
        trials.sort(key=_worth, reverse=True)  # of equal ones the first stays the first
    shown = trials[:MAX_ROWS] if is_ranked else _most_telling(record, trials)
    parts: list[RenderableType] = [_TrialsTable(record, shown)]
    if is_ranked and record.best is not None:
        metric = record.objective.metric.replace("_", " ")
        parts.append(Text(f"{BEST} the best; sorted by the best {metric}", style="dim"))
    if len(shown) < len(trials):
        parts.append(Text(f"and {len(trials) - len(shown)} more; --json tells all", style="dim"))
    parts += [failure_line(trial) for trial in shown if trial.outcome == "failed"]
    parts += [Text(line, style="yellow") for trial in shown for line in warning_lines(trial)]
    return Group(*parts)


def warning_lines(trial: TrialState) -> list[str]:
    """Return what was wrong with a trial's training in its last epoch, one line each."""
    return [f"trial {trial.id}: {warning}" for warning in trial.warnings]


def failure_line(trial: TrialState) -> Text:
    """Return why a trial failed, in one line."""
    cause = in_one_line(trial.kind, trial.cause or "no cause was recorded")
    return Text(
        f"trial {trial.id} failed: {cause}", style="red", overflow="ellipsis", no_wrap=True
    )


def _worth(trial: TrialState) -> Rank:
    """Return what orders trials; those that failed, or have no number, are worth nothing."""
    nothing = (False, -math.inf)
    return nothing if trial.outcome == "failed" else trial.rank or nothing


def _most_telling(record: StudyRecord, trials: list[TrialState]) -> list[TrialState]:
    if len(trials) <= MAX_ROWS:
        return trials
    last = trials[-MAX_ROWS + 1 :]
    if record.best is None or record.best in last:
        return last
    return [record.best, *last]


def outcome_counts(record: StudyRecord) -> str:
    """Return how many trials ended how, such as `5 complete, 3 stopped early`."""
    n_pending = n_waiting(record)
    counts = [(name, record.n_by_outcome[name]) for name in get_args(Outcome)]
    counts = [(name, n - n_pending * (name == "running")) for name, n in counts]
    counts.append(("pending", n_pending))
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)


def n_waiting(record: StudyRecord) -> int:
    """Return how many trials wait for CPUs and GPUs."""
    return sum(trial.is_waiting for trial in record.running.values())
