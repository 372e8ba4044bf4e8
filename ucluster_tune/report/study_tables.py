"""Tables about studies and their trials, as rich renderables."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_words import confirmation_lines
from ucluster_tune.report.front_words import MOST_SHOWN, front_rows, objectives_in_words
from ucluster_tune.report.trials_table import outcome_counts, trials_table
from ucluster_tune.report.yardstick_words import (
    WITHOUT_LABELS,
    beside_mass,
    lines_of,
    reference_words,
    verdict,
)
from ucluster_tune.study.budget import elapsed_s, may_go_on, spent
from ucluster_tune.study.knowledge import settings
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import remaining_s
from ucluster_tune.study.trainings import TrialState
from ucluster_tune.training.yardsticks import with_interval


def studies_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return one row a study, of what `list_studies` tells, and why some cannot be read."""
    columns = ("study", "state", "trials", "best\naccuracy", "best in\nbatches", "started")
    table = cells.plain_table(*columns, "elapsed", left=("study", "state"))
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


def status_view(record: StudyRecord, paths: StudyPaths | None = None) -> RenderableType:
    """Return a study's state and its trials, as far as they fit a few screens.

    Of a complete study it is what its search found; see `found`.
    """
    if record.state == "complete":
        return found(record, paths)
    return Group(
        *_heading(record),
        *lines_of(record),
        *confirmation_lines(record),
        *_front(record),
        Text(),
        trials_table(record),
    )


def final_summary(record: StudyRecord, paths: StudyPaths) -> RenderableType:
    """Return what a search found, and what to type next; print it with crop=False."""
    return Group(found(record, paths), Text(), next_commands(record, paths))


def found(record: StudyRecord, paths: StudyPaths | None = None) -> RenderableType:
    """Return what a search found, its trials from the best one down; print it with crop=False.

    Args:
        record: the study's state, with `study_evaluated` in it where that succeeded.
        paths: the study's files, where its report may lie.
    """
    parts: list[RenderableType] = [*_heading(record), *confirmation_lines(record), Text()]
    if record.best is not None:
        parts += [_best_configuration(record, record.best), Text()]
        if record.is_labelled:
            parts += [_accuracies(record), *verdict(record)]
        else:
            parts += [_score_alone(record), Text(WITHOUT_LABELS, style="dim")]
        parts += _better_elsewhere(record)
        parts += [*(_protocols(record) if record.is_labelled else []), Text()]
    parts += [*_front(record), Text()] if record.objective.others else []
    parts += [trials_table(record, is_ranked=True)]
    return Group(*parts, *cells.report_lines(paths))


def next_commands(
    record: StudyRecord, paths: StudyPaths, *, after_status: bool = False
) -> RenderableType:
    """Return the commands that make sense after a look at the study; print it with crop=False."""
    commands: dict[str, str] = {}
    if record.state in ("interrupted", "failed") and may_go_on(record):
        commands["carry it on"] = cells.command("resume", paths, record.name)
    elif record.state != "running":
        more = cells.command("extend", paths, record.name)
        commands["more trials"] = f"{more} --trials {max(1, record.n_trials)}"
    if record.state == "complete" and record.is_labelled:
        commands["how sure it is"] = cells.command("confirm", paths, record.name)
    elif record.state == "complete":
        own = cells.command("select", paths, record.name, "--without-labels")
        commands["which to trust"] = own
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
        reference = f"; {cells.below_reference(None, record.reference_accuracy)}"
        return Text(f"No epoch finished yet{reference if record.is_labelled else ''}")
    metric = record.objective.metric
    line = Text("Best so far: ")
    line.append(f"trial {best.id}, epoch {best.best_epoch}: ")
    if metric == "clustering_accuracy":
        line.append(f"accuracy {cells.percent(best.value(metric))}", style="bold green")
    else:
        line.append(
            f"{metric.replace('_', ' ')} {cells.metric(metric, best.score(record.objective))}",
            style="bold green",
        )
    if best.n_seeds > 1:
        line.append(f", seeds {cells.spread(metric, best)}")
    beside = beside_mass(record, best.value("clustering_accuracy"))
    line.append(f", {beside}" if beside and metric == "clustering_accuracy" else "")
    if not record.is_labelled:
        return line
    batched = best.value("clustering_accuracy_batched")
    line.append(f"\nIn batches {cells.percent(batched)}: ")
    line.append(cells.below_reference(batched, record.reference_accuracy))
    if record.yardsticks is not None and not record.yardsticks.is_reference_data:
        line.append(", which is of other jets")
    return line


def _best_configuration(record: StudyRecord, best: TrialState) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for name, value in {**settings(record, best), **best.at_best}.items():
        table.add_row(Text(name), Text(cells.setting(value), style="bold"))
    if not best.hyperparameters:
        table.add_row("the study's configuration as it stands: nothing was searched")
    head = Text(f"Best: trial {best.id}, epoch {best.best_epoch} of {best.n_epochs}", style="bold")
    return Group(head, Padding(table, (0, 0, 0, 2)))


def _accuracies(record: StudyRecord) -> Table:
    table = cells.plain_table("", "accuracy", "95 % interval", "in batches", left=("",))
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
                "" if name.startswith("validation") else cells.interval(with_interval(values)),
                cells.percent(values.get("clustering_accuracy_batched")),
            )
    table.add_row("reference", "", "", cells.percent(record.reference_accuracy))
    return table


def _score_alone(record: StudyRecord) -> Text:
    assert record.best is not None
    metric, score = record.objective.metric, record.best.score(record.objective)
    told = f"{metric.replace('_', ' ')} {cells.metric(metric, score)}"
    return Text(f"{told} on validation jets, where it was chosen", style="bold")


def _better_elsewhere(record: StudyRecord) -> list[RenderableType]:
    """Return a sentence where the study that taught this one has a better trial."""
    taught, objective, best = record.warm_start, record.objective, record.best
    other = taught.best(objective) if taught else None
    score = best.score(objective) if best else None
    if not taught or not other or other.score is None or not best or score is None:
        return []
    if objective.worth(other.score) <= objective.worth(score):
        return []
    here, there = (cells.metric(objective.metric, value) for value in (score, other.score))
    text = f"Trial {other.id} of study {taught.study}, {there}, is better than the best one here,"
    text += f" {here}; train that again: `{cells.program()} train {taught.study}/{other.id}`"
    if taught.differing:
        text += f". The studies differ in {', '.join(taught.differing)}"
    return [Text(text, style="yellow")]


def _yardsticks(record: StudyRecord) -> list[tuple[str, dict[str, Any]]]:
    """Return what stands beside the best trial, on the jets that it was measured on last."""
    if record.yardsticks is not None:
        split, ending = ("test", ", test") if record.best_test else ("validation", "")
        found = record.yardsticks.yardsticks
        return [(f"{y.title}{ending}", asdict(y.by_split[split])) for y in found]
    mass = record.baselines.get("kmeans_mass", {})
    return [(f"k-means on the jet mass, {mass.get('split', 'test')} jets", mass)]


def _protocols(record: StudyRecord) -> list[RenderableType]:
    size, source = (
        record.config[section][key]
        for section, key in (("training", "evaluation_batch_size"), ("reference", "source"))
    )
    told = reference_words(record.yardsticks, record.reference_accuracy, source)
    return [
        Text(told, style="dim"),
        Text(
            f"in batches: clusters matched to classes anew in each batch of {size} jets, as"
            " published, which flatters; accuracy: matched once, over all jets",
            style="dim",
        ),
    ]


def _front(record: StudyRecord) -> list[RenderableType]:
    """Return the Pareto front with its title; nothing where a study has one objective."""
    rows = front_rows(record) if record.objective.others else []
    if not rows:
        return []
    table = cells.plain_table("trial", *(m.replace("_", "\n") for m in record.objective.metrics))
    for row in rows[:MOST_SHOWN]:
        table.add_row(*row)
    title = f"Pareto front of {cells.plural(len(rows), 'trial')} that no other one beats"
    parts: list[RenderableType] = [Text()]
    parts += [Text(f"{title}: {objectives_in_words(record.objective)}"), table]
    if len(rows) > MOST_SHOWN:
        parts.append(Text(f"and {len(rows) - MOST_SHOWN} more; --json tells all", style="dim"))
    return parts


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _local_minute(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
