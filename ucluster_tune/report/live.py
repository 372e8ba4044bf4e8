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
from rich.table import Table
from rich.text import Text

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.report.event_lines import begin_line, lines_of_event, placement
from ucluster_tune.report.following import Screen
from ucluster_tune.report.front_words import front_line
from ucluster_tune.report.study_tables import best_line, spent_words
from ucluster_tune.report.trials_table import BEST, failure_line, n_waiting, outcome_counts
from ucluster_tune.report.yardstick_words import mass_accuracy
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.events import Event, StudyEnded, TrialEnded
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.study.status import remaining_s
from ucluster_tune.study.trainings import TrialState

_REFRESHES_PER_S = 2
_LINES_AROUND = 15  # heading, table's head, failures, counts, and room for the prompt
_MIN_ROWS, _MAX_ROWS = 6, 30
_N_FAILURES = 2
_COLUMNS = (
    *("trial", "state", "epoch", "focal\nloss", "cluster\nloss"),
    *("\naccuracy", "in\nbatches", "best\nso far"),
)
_OF_LABELS = ("\naccuracy", "in\nbatches")


class LiveTable:
    """Shows a search on standard error.

    On a terminal one row a trial, redrawn in place; otherwise one line for each epoch and trial.

    Args:
        console: where to show; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=False)
        self._live: Live | None = None
        self._screen = Screen()
        self._ended: deque[TrialState] = deque(maxlen=_MAX_ROWS)
        self._failed: deque[TrialState] = deque(maxlen=_N_FAILURES)

    def say(self, line: str) -> None:
        """Show a line, above the table where there is one.

        What is written to the terminal past the console would shift the table, which is redrawn
        from where its console left the cursor.
        """
        self.console.print(Text(line), soft_wrap=True)

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Begin to show the search."""
        if record.is_confirming:
            return
        if not self.console.is_terminal:
            self._log(begin_line(record))
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
            self._tell(event, record)
            return
        if isinstance(event, TrialEnded):
            trial = record.trials[event.trial]
            self._ended.append(trial)
            if trial.outcome == "failed":
                self._failed.append(trial)
        if self._live is not None:
            self._live.update(self._view(record))
        elif not isinstance(event, StudyEnded):  # of which on_study_end hears
            self._tell(event, record)

    def on_study_end(self, record: StudyRecord) -> None:
        """Take the table away: a summary follows it."""
        if self._live is not None:
            # Rich draws the last view whole, and cannot erase it where the screen is too small.
            self._live.update(self._screen.fitting(Text()))
            self._live.transient = True
        else:
            self._log(f"study {record.name} {record.state}: {outcome_counts(record)}")
        self.close()

    def close(self) -> None:
        """Give the terminal back and leave the table on it, where `on_study_end` did not."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _tell(self, event: Event, record: StudyRecord) -> None:
        for line in lines_of_event(event, record, remaining_s(record)):
            self._log(line)

    def _log(self, line: str) -> None:
        self.say(f"{datetime.now().strftime('%H:%M:%S')} {line}")

    def _view(self, record: StudyRecord) -> RenderableType:
        parts = [
            _Heading(record),
            best_line(record),
            *([front_line(record)] if record.objective.others else []),
            Text(),
            self._table(record),
            *(failure_line(trial) for trial in self._failed),
        ]
        return self._screen.fitting(Group(*parts))

    def _table(self, record: StudyRecord) -> RenderableType:
        shown = self._rows(record)
        table = _LiveTrials(record, shown)
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


class _Heading:
    """The lines above the table; the clock goes on between two events."""

    def __init__(self, record: StudyRecord) -> None:
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
            self._title.append(f", {n_running} running, {placement(record)}")
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


class _LiveTrials:
    """One row a trial, with as many of its hyperparameters as there is room for."""

    def __init__(self, record: StudyRecord, trials: list[TrialState]) -> None:
        self._record, self._trials = record, trials
        self._names = list(dict.fromkeys(name for t in trials for name in t.hyperparameters))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=1000)
        for n_names in range(len(self._names), -1, -1):
            table = self._table(self._names[:n_names])
            width = console.measure(table, options=unbounded).maximum
            if not n_names or width <= options.max_width:
                yield table
                return

    def _table(self, names: list[str]) -> Table:
        settings = (name.rpartition(".")[2].replace("_", "\n") for name in names)
        columns = [c for c in _COLUMNS if self._record.is_labelled or c not in _OF_LABELS]
        table = cells.plain_table(*columns, *settings, left=("state",))
        for trial in self._trials:
            values = (cells.setting(trial.hyperparameters.get(name, "")) for name in names)
            style = "green" if trial is self._record.best else ""
            table.add_row(*_row(trial, self._record), *map(Text, values), style=style)
        return table


def _row(trial: TrialState, record: StudyRecord) -> list[RenderableType]:
    last = trial.records[-1] if trial.records else None
    metric = record.objective.metric
    score = trial.score(record.objective)
    agreement: list[RenderableType] = [
        cells.percent(last.clustering_accuracy if last else None),
        cells.percent(last.clustering_accuracy_batched if last else None),
    ]
    return [
        f"{BEST} {trial.id}" if trial is record.best else trial.id,
        cells.outcome(trial),
        cells.epochs(trial),
        cells.number(last.focal_loss if last else None),
        cells.number(last.clustering_loss if last else None),
        *(agreement if record.is_labelled else []),
        cells.metric(metric, score),
    ]
