"""Numbers and states as people read them: the cells of all tables."""

import math
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from rich import box
from rich.table import Table
from rich.text import Text

from ucluster_tune.study.paths import StudyPaths, open_studies
from ucluster_tune.study.trainings import TrialState

NOTHING = "-"
_ACCURACIES = ("clustering_accuracy", "clustering_accuracy_batched", "purity")
_STATES = {
    "running": ("●", "cyan"),
    "waiting": ("○", "yellow"),
    "complete": ("✓", "green"),
    "stopped_early": ("◌", "dim"),
    "failed": ("✗", "red"),
    "interrupted": ("‖", "yellow"),
    "unreadable": ("?", "red"),
}


def percent(value: float | None) -> str:
    """Return a fraction in per cent.

    >>> percent(0.8098), percent(None)
    ('81.0 %', '-')
    """
    return f"{100 * value:.1f} %" if _is_finite(value) else NOTHING


def number(value: float | None) -> str:
    """Return a loss or an index with three decimals, or two digits where that says nothing.

    >>> number(0.5), number(0.000123), number(None)
    ('0.500', '1.2e-04', '-')
    """
    if not _is_finite(value):
        return NOTHING
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def metric(name: str, value: float | None) -> str:
    """Return a metric the way it is usually told: accuracies in per cent."""
    return percent(value) if name in _ACCURACIES else number(value)


def epochs(trial: TrialState) -> str:
    """Return the epochs that a trial has run, of all that it is to run, with all of its seeds."""
    if trial.n_seeds == 1:
        return f"{trial.epochs}/{trial.n_epochs}"
    return f"{trial.epochs_run}/{trial.n_epochs * trial.n_seeds}"


def spread(name: str, trial: TrialState) -> str:
    """Return a trial's standard deviation of a metric between seeds; how many ended before."""
    deviation = trial.spread(name)
    if deviation is not None:
        return f"±{metric(name, deviation)}"
    n_ended = sum(training.outcome == "complete" for training in trial.searched)
    return f"{n_ended} of {trial.n_seeds}"


def interval(values: Mapping[str, Any]) -> str:
    """Return the 95 % interval of an accuracy that was measured; nothing where none is known.

    >>> interval({"clustering_accuracy_interval": (0.712, 0.867)}), interval({})
    ('71.2 to 86.7 %', '')
    """
    low, high = values.get("clustering_accuracy_interval", (None, None))
    return "" if low is None else f"{100 * low:.1f} to {100 * high:.1f} %"


def setting(value: Any) -> str:
    """Return a hyperparameter's value.

    >>> setting(0.00123456), setting(128), setting("a")
    ('0.00123', '128', 'a')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """Return a time span in the two units that matter.

    >>> duration(7.2), duration(130), duration(7500), duration(200_000)
    ('7 s', '2 min 10 s', '2 h 05 min', '2 d 7 h')
    """
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def about(seconds: float) -> str:
    """Return an estimated time span, no finer than an estimate can be.

    >>> about(20), about(130), about(7500)
    ('under a minute', 'about 3 min', 'about 2 h 05 min')
    """
    if seconds < 60:
        return "under a minute"
    minutes = math.ceil(seconds / 60)
    return f"about {minutes} min" if minutes < 60 else f"about {duration(minutes * 60)}"


def times(n: int) -> str:
    """Return how often something happened.

    >>> times(1), times(2), times(5)
    ('once', 'twice', '5 times')
    """
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "trial"), plural(3, "trial")
    ('1 trial', '3 trials')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def state(name: str, word: str | None = None) -> Text:
    """Return an outcome or state with its mark and colour; `word` stands in for the name."""
    mark, style = _STATES[name]
    return Text(f"{mark} {word or name.replace('_', ' ')}", style=style, no_wrap=True)


def outcome(trial: TrialState) -> Text:
    """Return a trial's outcome; of a running one, its phase, or for what it waits."""
    if trial.outcome != "running":
        return state(trial.outcome)
    if trial.is_waiting:
        return state("waiting", "waits for a node" if trial.n_lost_nodes else "pending")
    return state("running", trial.records[-1].phase if trial.records else "starting")


def below_reference(accuracy: float | None, reference: float) -> str:
    """Return the distance of an accuracy to the reference.

    >>> below_reference(0.67, 0.81)
    '14.0 points below the reference, 81.0 %'
    """
    if not _is_finite(accuracy):
        return f"reference {percent(reference)}"
    points = 100 * (accuracy - reference)
    side = "above" if points >= 0 else "below"
    return f"{abs(points):.1f} points {side} the reference, {percent(reference)}"


def plain_table(*columns: str, left: Iterable[str] = ()) -> Table:
    """Return an empty table of right-aligned columns, but for those named in `left`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(
            name, justify="left" if name in left else "right", header_style="bold", no_wrap=True
        )
    return table


def program() -> str:
    """Return the name under which this program can be typed here."""
    name = "ucluster-tune"
    if shutil.which(name) is not None:
        return name
    beside_python = Path(sys.executable).with_name(name)
    return shown_path(beside_python) if beside_python.exists() else name


def command(verb: str, paths: StudyPaths, *arguments: str) -> str:
    """Return a command to type, with the studies folder where it is not the usual one."""
    words = [program(), verb, *arguments]
    if paths.studies_place != open_studies().place:
        folder = paths.studies_place
        words += ["--studies-dir", folder if paths.remote else shown_path(Path(folder))]
    return shlex.join(words)


def unfolded(text: str) -> Text:
    """Return a line that nothing but a terminal folds, so that a command in it can be copied.

    Rich cuts it at the console's width unless it is told `crop=False`.
    """
    return Text(text, no_wrap=True, overflow="ignore")


def shown_path(path: Path) -> str:
    """Return a path relative to the current folder where it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def report_lines(paths: StudyPaths | None) -> list[Text]:
    """Return the line that names a study's report, below an empty one; none without one."""
    if paths is None or not paths.report_page.exists():
        return []
    return [Text(), unfolded(f"Report: {shown_path(paths.report_page)}")]


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
