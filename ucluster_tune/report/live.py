"""What a search shows while it runs: a table that is kept up to date, or plain lines in a log.

Told of every event after the record took it in. What is drawn is made then, from the trials shown
and from counts that the record keeps: an event costs no more after thousands of trials.
"""

import sys
import time
from collections import deque
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.report.confirmation_words import line_of
from ucluster_tune.report.front_words import front_line
from ucluster_tune.report.study_tables import (
    best_line,
    failure_line,
    n_waiting,
    outcome_counts,
    plain_table,
    spent_words,
    warning_lines,
)
from ucluster_tune.report.yardstick_words import beside_mass, mass_accuracy
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.events import (
    EpochEnded,
    Event,
    TrialEnded,
    TrialPlaced,
    TrialRestored,
    TrialResumed,
    TrialStarted,
)
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import remaining_s
from ucluster_tune.study.trainings import TrialState

_REFRESHES_PER_S = 2
_LINES_AROUND = 15  # heading, table's head, failures, counts, and room for the prompt
_MIN_ROWS, _MAX_ROWS = 6, 30
_N_FAILURES = 2
_LONG_WAIT_S = 30.0  # longer than a process takes to start


class LiveTable:
    """Shows a search on standard error.

    On a terminal one row a trial, redrawn in place; otherwise one line for each epoch and trial.

    Args:
        console: where to show; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=False)
        self._study: StudyConfig | None = None
        self._live: Live | None = None
        self._ended: deque[TrialState] = deque(maxlen=_MAX_ROWS)
        self._failed: deque[TrialState] = deque(maxlen=_N_FAILURES)

    def say(self, line: str) -> None:
        """Show a line, above the table where there is one.

        What is written to the terminal past the console would shift the table, which is redrawn
        from where its console left the cursor.
        """
        self.console.print(Text(line), soft_wrap=True)

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Begins to show the search."""
        self._study = study_config
        if record.is_confirming:
            return
        if not self.console.is_terminal:
            self._log(f"study {record.name}: {self._plan(record)}")
            return
        self._live = Live(
            self._view(record),
            console=self.console,
            refresh_per_second=_REFRESHES_PER_S,
            redirect_stdout=sys.stdout.isatty(),
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Show what an event changed; the record has it already."""
        if record.is_confirming:
            told = line_of(event, record)
            if told is not None:
                self._log(told)
            return
        if isinstance(event, TrialEnded):
            trial = record.trials[event.trial]
            self._ended.append(trial)
            if trial.outcome == "failed":
                self._failed.append(trial)
        if self._live is not None:
            self._live.update(self._view(record))
        elif isinstance(event, TrialStarted):
            self._log(_started_line(record.trials[event.trial]))
        elif isinstance(event, TrialPlaced) and event.waited_s >= _LONG_WAIT_S:
            self._log(f"trial {event.trial} has its place after {cells.duration(event.waited_s)}")
        elif isinstance(event, TrialResumed | TrialRestored):
            self._log(_goes_on_line(event))
        elif isinstance(event, EpochEnded):
            self._log(_epoch_line(record.trials[event.trial], record))
        elif isinstance(event, TrialEnded):
            self._log(_ended_line(record.trials[event.trial], record))
            for warning in warning_lines(record.trials[event.trial]):
                self._log(warning)

    def on_study_end(self, record: StudyRecord) -> None:
        """Take the table away: a summary follows it."""
        if self._live is not None:
            self._live.update(Text())  # rich draws the last view whole, and cannot erase it then
            self._live.transient = True  # where it is longer than the screen
        else:
            self._log(f"study {record.name} {record.state}: {outcome_counts(record)}")
        self.close()

    def close(self) -> None:
        """Give the terminal back and leave the table on it, where `on_study_end` did not."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _log(self, line: str) -> None:
        self.say(f"{datetime.now().strftime('%H:%M:%S')} {line}")

    def _plan(self, record: StudyRecord) -> str:
        assert self._study is not None
        return f"{cells.plural(record.n_trials, 'trial')}, {_placement(self._study)}"

    def _view(self, record: StudyRecord) -> RenderableType:
        assert self._study is not None
        parts = [
            _Heading(record, self._study),
            best_line(record),
            *([front_line(record)] if record.objective.others else []),
            Text(),
            self._table(record),
            *(failure_line(trial) for trial in self._failed),
        ]
        return _AboveEmptyLine(Group(*parts))

    def _table(self, record: StudyRecord) -> RenderableType:
        shown = self._rows(record)
        table = _empty_table()
        for trial in shown:
            table.add_row(*_row(trial, record), style="green" if trial is record.best else "")
        n_hidden = len(record.trials) - len(shown)
        if not n_hidden:
            return table
        return Group(table, Text(f"and {cells.plural(n_hidden, 'trial')} more", style="dim"))

    def _rows(self, record: StudyRecord) -> list[TrialState]:
        """Return the trials to show: all, or the running ones, the best and the last to end."""
        room = min(_MAX_ROWS, max(_MIN_ROWS, self.console.height - _LINES_AROUND))
        if len(record.trials) <= room:
            return list(record.trials.values())
        chosen: dict[str, TrialState] = {}
        if record.best is not None:
            chosen[record.best.id] = record.best
        for trial in (*reversed(record.running.values()), *reversed(self._ended)):
            if len(chosen) < room:
                chosen[trial.id] = trial
        return [chosen[name] for name in sorted(chosen)]


class _AboveEmptyLine:
    """As much of a view as leaves the screen's last line empty.

    The terminal echoes ^C where the view ends; on a full line that would begin another one, which
    rich knows nothing of and would leave behind.
    """

    def __init__(self, view: RenderableType) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._view, options, pad=False, new_lines=True)
        for line in lines[: options.size.height - 1]:
            yield from line
        yield Segment.line()


class _Heading:
    """The lines above the table; the clock goes on between two events."""

    def __init__(self, record: StudyRecord, study: StudyConfig) -> None:
        self._record_elapsed_s = elapsed_s(record)
        self._remaining_s = remaining_s(record)
        self._spent = spent_words(record)
        self._made = time.monotonic()
        self._is_running = record.state == "running"
        self._title = Text.assemble((f"{record.name}  ", "bold"))
        self._title.append_text(cells.state(record.state))
        n_pending = n_waiting(record)
        n_running = len(record.running) - n_pending
        done = f"  {record.n_finished} of {cells.plural(record.n_trials, 'trial')} done"
        self._title.append(done)
        if n_running:
            self._title.append(f", {n_running} running, {_placement(study)}")
        if n_pending:
            self._title.append(f", {n_pending} pending")
        mass = mass_accuracy(record)
        self._baseline = "" if mass is None else f", k-means on the jet mass {cells.percent(mass)}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        passed = time.monotonic() - self._made if self._is_running else 0.0
        yield self._title
        line = f"Elapsed {cells.duration(self._record_elapsed_s + passed)}"
        if self._remaining_s is not None:
            line += f", {cells.about(max(0.0, self._remaining_s - passed))} left"
        yield Text(line + self._baseline)
        yield Text(self._spent)


def _placement(study: StudyConfig) -> str:
    resources = study.resources
    text = f"each on {cells.plural(resources.n_workers, 'worker')}"
    return text + (" with GPU" if resources.gpus_per_worker else "")


def _empty_table() -> Table:
    return plain_table(
        "trial",
        "state",
        "epoch",
        "focal\nloss",
        "cluster\nloss",
        "\naccuracy",
        "in\nbatches",
        "best\nso far",
        left=("state",),
    )


def _row(trial: TrialState, record: StudyRecord) -> list[RenderableType]:
    last = trial.records[-1] if trial.records else None
    metric = record.objective.metric
    score = trial.score(record.objective)
    return [
        trial.id,
        cells.outcome(trial),
        f"{trial.epochs}/{trial.n_epochs}",
        cells.number(last.focal_loss if last else None),
        cells.number(last.clustering_loss if last else None),
        cells.percent(last.clustering_accuracy if last else None),
        cells.percent(last.clustering_accuracy_batched if last else None),
        cells.metric(metric, score),
    ]


def _started_line(trial: TrialState) -> str:
    values = ", ".join(
        f"{name}={cells.setting(value)}" for name, value in trial.hyperparameters.items()
    )
    return f"trial {trial.id} started" + (f": {values}" if values else "")


def _goes_on_line(event: TrialResumed | TrialRestored) -> str:
    if isinstance(event, TrialResumed):
        return f"trial {event.trial} goes on: {event.cause.strip().splitlines()[0]}"
    if not event.epoch:
        return f"trial {event.trial} begins again: no checkpoint of it is whole"
    return f"trial {event.trial} went on from its checkpoint of epoch {event.epoch}"


def _epoch_line(trial: TrialState, record: StudyRecord) -> str:
    last = trial.records[-1]
    batched = last.clustering_accuracy_batched
    beside = beside_mass(record, last.value("clustering_accuracy"))
    return (
        f"trial {trial.id} epoch {trial.epochs}/{trial.n_epochs} {last.phase}:"
        f" focal loss {cells.number(last.focal_loss)},"
        f" clustering loss {cells.number(last.clustering_loss)},"
        f" accuracy {cells.percent(last.clustering_accuracy)},"
        f" in batches {cells.percent(batched)}" + (f", {beside}" if beside else "")
    )


def _ended_line(trial: TrialState, record: StudyRecord) -> str:
    if trial.outcome == "failed":
        return failure_line(trial).plain
    line = f"trial {trial.id} {trial.outcome.replace('_', ' ')} after epoch {trial.epochs}"
    metric = record.objective.metric
    line += f": best {metric} {cells.metric(metric, trial.score(record.objective))}"
    line += f"; {record.n_finished} of {cells.plural(record.n_trials, 'trial')} done"
    left = remaining_s(record)
    return line + (f", {cells.about(left)} left" if left is not None else "")
