"""Tables about studies and their trials, as rich renderables."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, get_args

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_words import confirmation_lines
from ucluster_tune.report.front_words import MOST_SHOWN, front_rows, objectives_in_words
from ucluster_tune.report.yardstick_words import (
    beside_mass,
    lines_of,
    reference_words,
    verdict,
)
from ucluster_tune.study.budget import elapsed_s, spent
from ucluster_tune.study.knowledge import settings
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import remaining_s
from ucluster_tune.study.trainings import Outcome, TrialState
from ucluster_tune.trial.failures import in_one_line

MAX_ROWS = 40
_IN_ALL_COLUMNS = ("clustering_accuracy", "clustering_accuracy_batched")
_ALL_COLUMNS = ("trial", "outcome", "epochs", "accuracy", "in\nbatches")


def plain_table(*columns: str, left: Iterable[str] = ()) -> Table:
    """Return an empty table of right-aligned columns, but for those named in `left`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(
            name, justify="left" if name in left else "right", header_style="bold", no_wrap=True
        )
    return table


def studies_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return one row a study, of what `list_studies` tells, and why some cannot be read."""
    columns = ("study", "state", "trials", "best\naccuracy", "best in\nbatches", "started")
    table = plain_table(*columns, "elapsed", left=("study", "state"))
    for line in lines:
        best = line.get("best") or {}
        n_trials = f"{line['n_finished']}/{line['n_trials']}" if "n_trials" in line else ""
        table.add_row(
            Text(line["name"]),
            cells.state(line["state"]),
            n_trials,
            cells.percent(best.get("clustering_accuracy")),
            cells.percent(best.get("clustering_accuracy_batched")),
            _local_minute(line["started"]) if "started" in line else "",
            cells.duration(line.get("elapsed_s")),
        )
    causes = (line["cause"] for line in lines if line["state"] == "unreadable")
    return Group(table, *(Text(cause, style="red") for cause in causes))


def status_view(record: StudyRecord) -> RenderableType:
    """Return a study's state and its trials, as far as they fit a few screens."""
    return Group(
        *_heading(record),
        *lines_of(record),
        *confirmation_lines(record),
        *_front(record),
        Text(),
        _trials_table(record),
    )


def final_summary(
    record: StudyRecord, study_config: StudyConfig, paths: StudyPaths | None = None
) -> RenderableType:
    """Return what a finished search found, and what to type next; print it with crop=False.

    Args:
        record: the study's state, with `study_evaluated` in it where that succeeded.
        study_config: names the reference's protocol and its batch size.
        paths: the study's files, for the commands to type.
    """
    parts: list[RenderableType] = [*_heading(record), Text()]
    if record.best is not None:
        parts += [_best_configuration(record, record.best), Text()]
        parts += [_accuracies(record), *verdict(record), *_protocols(record, study_config), Text()]
    parts += [*_front(record), Text()] if record.objective.others else []
    parts += [_trials_table(record)]
    if paths is not None:
        if paths.report_page.exists():
            page = cells.shown_path(paths.report_page)
            parts += [Text(), cells.unfolded(f"Report: {page}")]
        parts += [Text(), next_commands(record, paths)]
    return Group(*parts)


def next_commands(
    record: StudyRecord, paths: StudyPaths, *, after_status: bool = False
) -> RenderableType:
    """Return the commands that make sense after a look at the study; print it with crop=False."""
    commands: dict[str, str] = {}
    if record.state in ("interrupted", "failed"):
        commands["carry it on"] = cells.command("resume", paths, record.name)
    if record.state == "complete":
        more = cells.command("extend", paths, record.name)
        commands["more trials"] = f"{more} --trials {max(1, record.n_trials)}"
        commands["how sure it is"] = cells.command("confirm", paths, record.name)
    if record.state == "running":
        commands["stop it in order"] = cells.command("stop", paths, record.name)
    if not after_status:
        commands["all its trials"] = cells.command("status", paths, record.name)
    if after_status and record.best is not None:
        commands["a report of it all"] = cells.command("report", paths, record.name)
    commands["its curves in MLflow"] = cells.command("ui", paths, record.name)
    if record.best is not None and paths.best_yaml.exists():
        best = shlex.quote(cells.shown_path(paths.best_yaml))
        commands["train the best again"] = f"{cells.program()} train {best} --out best"
    width = max(map(len, commands))
    lines = [
        cells.unfolded(f"  {what:{width}}  ").append(command, "bold")
        for what, command in commands.items()
    ]
    return Group(Text("Next, type"), *lines)


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


def _heading(record: StudyRecord) -> list[RenderableType]:
    first = Text.assemble(("Study ", "bold"), (record.name, "bold"), "  ")
    first.append_text(cells.state(record.state))
    if record.cause:
        first.append(f": {_first_line(record.cause)}")
    counts = outcome_counts(record)
    trials = f"{record.n_finished} of {cells.plural(record.n_trials, 'trial')} done"
    second = f"{trials} in {cells.duration(elapsed_s(record))}"
    left = remaining_s(record)
    if left is not None:
        second += f", {cells.about(left)} left"
    if counts:
        second += f": {counts}"
    return [
        first,
        Text(second),
        Text(spent_words(record)),
        *_history(record),
        *_best_so_far(record),
    ]


def spent_words(record: StudyRecord) -> str:
    """Return what was spent, and what is left where the budget has a limit of it."""
    told = []
    for one in spent(record):
        limit = "" if one.limit is None else f" of {one.limit:g}"
        told.append(one.in_words(cells.number(one.amount) + limit))
    return f"Spent {', '.join(told)}"


def _history(record: StudyRecord) -> list[RenderableType]:
    """Return what was carried on, and what it cost."""
    trials = record.trials.values()
    restored = [trial for trial in trials if trial.restored_epochs]
    n_retries = sum(len(trial.retry_causes) for trial in trials)
    n_lost_nodes = sum(trial.n_lost_nodes for trial in trials)
    n_again = sum(trial.n_epochs_again for trial in trials)
    told = []
    if record.n_sessions > 1:
        told.append(f"resumed {cells.times(record.n_sessions - 1)}")
    if restored:
        told.append(f"{cells.plural(len(restored), 'trial')} went on from a checkpoint")
    if n_retries:
        told.append(f"workers lost {cells.times(n_retries)}")
    if n_lost_nodes:
        told.append(f"nodes lost {cells.times(n_lost_nodes)}")
    if n_again:
        told.append(f"{cells.plural(n_again, 'epoch')} run again")
    lines: list[RenderableType] = [Text(", ".join(told).capitalize())] if told else []
    if record.warm_start is not None:
        known = cells.plural(len(record.warm_start.trials), "trial")
        lines.append(Text(f"Knew {known} of study {record.warm_start.study} from its start"))
    if record.fitted:
        fitted = ", ".join(f"{path} {value}" for path, value in record.fitted.items())
        lines.append(Text(f"Fitted to its nodes: {fitted}"))
    return lines


def _best_so_far(record: StudyRecord) -> list[RenderableType]:
    if record.state not in ("running", "interrupted"):
        return []
    return [best_line(record)]


def best_line(record: StudyRecord) -> Text:
    """Return the best trial so far and its distance to the reference."""
    best = record.best
    if best is None or best.best is None:
        return Text(
            f"No epoch finished yet; {cells.below_reference(None, record.reference_accuracy)}"
        )
    metric = record.objective.metric
    line = Text("Best so far: ")
    line.append(f"trial {best.id}, epoch {best.best_epoch}: ")
    if metric == "clustering_accuracy":
        line.append(f"accuracy {cells.percent(best.best.value(metric))}", style="bold green")
    else:
        line.append(
            f"{metric.replace('_', ' ')} {cells.metric(metric, best.score(record.objective))}",
            style="bold green",
        )
    beside = beside_mass(record, best.best.value("clustering_accuracy"))
    line.append(f", {beside}" if beside and metric == "clustering_accuracy" else "")
    batched = best.best.clustering_accuracy_batched
    line.append(f"\nIn batches {cells.percent(batched)}: ")
    line.append(cells.below_reference(batched, record.reference_accuracy))
    if record.yardsticks is not None and not record.yardsticks.is_reference_data:
        line.append(", which is of other jets")
    return line


def _best_configuration(record: StudyRecord, best: TrialState) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for name, value in settings(record, best).items():
        table.add_row(Text(name), Text(cells.setting(value), style="bold"))
    if not best.hyperparameters:
        table.add_row("the study's configuration as it stands: nothing was searched")
    head = Text(f"Best: trial {best.id}, epoch {best.best_epoch} of {best.n_epochs}", style="bold")
    return Group(head, Padding(table, (0, 0, 0, 2)))


def _accuracies(record: StudyRecord) -> Table:
    table = plain_table("", "accuracy", "95 % interval", "in batches", left=("",))
    assert record.best is not None
    chosen = record.best.best
    for name, values in (
        ("validation jets, where it was chosen", chosen and chosen.as_values()),
        ("test jets, never used before", record.best_test),
        *_yardsticks(record),
    ):
        if values:
            is_test = values is record.best_test
            table.add_row(
                Text(name, style="bold" if is_test else ""),
                Text(cells.percent(values.get("clustering_accuracy")), style="bold" * is_test),
                "" if name.startswith("validation") else _interval(values),
                cells.percent(values.get("clustering_accuracy_batched")),
            )
    table.add_row("reference", "", "", cells.percent(record.reference_accuracy))
    return table


def _yardsticks(record: StudyRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return what stands beside the best trial, on the jets that it was measured on last."""
    if record.yardsticks is not None:
        split, ending = ("test", ", test") if record.best_test else ("validation", "")
        found = record.yardsticks.yardsticks
        return [(f"{y.title}{ending}", asdict(y.by_split[split])) for y in found]
    mass = record.baselines.get("kmeans_mass", {})
    return [(f"k-means on the jet mass, {mass.get('split', 'test')} jets", mass)]


def _interval(values: Mapping[str, Any]) -> str:
    n_jets = sum(map(sum, values.get("confusion") or []))
    accuracy = values.get("clustering_accuracy")
    if not n_jets or accuracy is None:
        return ""
    low, high = cells.wilson_interval(accuracy, n_jets)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _protocols(record: StudyRecord, study: StudyConfig) -> list[RenderableType]:
    size, reference = study.training.evaluation_batch_size, study.reference
    told = reference_words(record.yardsticks, reference.accuracy, reference.source)
    return [
        Text(told, style="dim"),
        Text(
            f"in batches: clusters matched to classes anew in each batch of {size} jets, as"
            " published, which flatters; accuracy: matched once, over all jets",
            style="dim",
        ),
    ]


class _TrialsTable:
    """One row a trial; hyperparameters in columns where these fit, else below each other."""

    def __init__(self, record: StudyRecord, trials: Sequence[TrialState]) -> None:
        self._record = record
        self._trials = trials
        self._names = list(dict.fromkeys(name for t in trials for name in t.hyperparameters))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for columns in (_ALL_COLUMNS, _ALL_COLUMNS[:-1]):
            table = self._table(columns, are_settings_columns=True)
            unbounded = options.update(width=1000)
            if console.measure(table, options=unbounded).maximum <= options.max_width:
                yield table
                return
        yield self._table(_ALL_COLUMNS, are_settings_columns=False)

    def _table(self, columns: Sequence[str], are_settings_columns: bool) -> Table:
        metric = self._record.objective.metric
        extra: list[str] = [] if metric.startswith("clustering_accuracy") else [metric]
        extra += [m for m in self._record.objective.others if m not in _IN_ALL_COLUMNS]
        short = [name.rpartition(".")[2] for name in self._names]
        settings = short if are_settings_columns else ["hyperparameters"]
        stacked = [name.replace("_", "\n") for name in (*extra, *settings)]
        left = ("outcome", *settings[: 0 if are_settings_columns else 1])
        table = plain_table(*columns, *stacked, left=left)
        for trial in self._trials:
            best = trial.best
            told = (
                trial.id,
                cells.outcome(trial),
                f"{trial.epochs}/{trial.n_epochs}",
                cells.percent(best.clustering_accuracy if best else None),
                cells.percent(best.clustering_accuracy_batched if best else None),
            )
            table.add_row(
                *told[: len(columns)],
                *(cells.metric(name, best.value(name) if best else None) for name in extra),
                *self._settings(trial, short, are_settings_columns),
                style="bold green" if trial is self._record.best else "",
            )
        return table

    def _settings(self, trial: TrialState, short: list[str], are_columns: bool) -> list[Text]:
        values = [cells.setting(trial.hyperparameters.get(name, "")) for name in self._names]
        if are_columns:
            return [Text(value) for value in values]
        return [
            Text("\n".join(f"{name} {value}" for name, value in zip(short, values, strict=True)))
        ]


def _front(record: StudyRecord) -> list[RenderableType]:
    """Return the Pareto front with its title; nothing where a study has one objective."""
    rows = front_rows(record) if record.objective.others else []
    if not rows:
        return []
    table = plain_table("trial", *(m.replace("_", "\n") for m in record.objective.metrics))
    for row in rows[:MOST_SHOWN]:
        table.add_row(*row)
    title = f"Pareto front of {cells.plural(len(rows), 'trial')} that no other one beats"
    parts: list[RenderableType] = [Text()]
    parts += [Text(f"{title}: {objectives_in_words(record.objective)}"), table]
    if len(rows) > MOST_SHOWN:
        parts.append(Text(f"and {len(rows) - MOST_SHOWN} more; --json tells all", style="dim"))
    return parts


def _trials_table(record: StudyRecord) -> RenderableType:
    trials = list(record.trials.values())
    if not trials:
        return Text("No trial yet.")
    shown = trials if len(trials) <= MAX_ROWS else _most_telling(record, trials)
    parts: list[RenderableType] = [_TrialsTable(record, shown)]
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


def _most_telling(record: StudyRecord, trials: list[TrialState]) -> list[TrialState]:
    last = trials[-MAX_ROWS + 1 :]
    if record.best is None or record.best in last:
        return last
    return [record.best, *last]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _local_minute(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
