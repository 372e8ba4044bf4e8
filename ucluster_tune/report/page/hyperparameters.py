"""What the hyperparameters did: importance, parallel coordinates, slices."""

import math
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from ucluster_tune.config.study import CategoricalParameter, Parameter
from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.course import OUTCOMES
from ucluster_tune.report.page.importance import Importances, importances
from ucluster_tune.report.page.parts import Section, absent
from ucluster_tune.report.page.style import (
    GREY,
    HEIGHT,
    Picture,
    color_of,
    draw_lines,
    in_percent,
    logarithmic,
    new_figure,
    whole_numbers,
)
from ucluster_tune.report.page.yardsticks import lines_to_beat
from ucluster_tune.study.trainings import TrialState, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS: Final = "cividis"  # looks the same with and without colour blindness; grey too
_N_LINES: Final = 300


def importance_section(contents: StudyContents) -> Section:
    """Return each hyperparameter's share in what sets the best trials apart, with uncertainty."""
    title = "Importance of the hyperparameters"
    if not contents.config.search_space:
        return absent(title, "nothing was searched")
    known = importances(contents)
    if not known.found:
        return absent(title, known.why_not)
    outstanding = [importance.name for importance in known.found if importance.stands_out]
    if outstanding:
        told = f"More than chance would give: {', '.join(outstanding)}."
        rest = len(known.found) - len(outstanding)
        told += " Of the others these trials cannot tell." if rest else ""
    else:
        told = (
            f"Too few trials to tell: with {known.n_trials}, no hyperparameter stands out from"
            " what chance would give."
        )
    return Section(
        title,
        [told],
        pictures=[_importance_picture(contents, known)],
        notes=[
            f"Optuna's PED-ANOVA on the {contents.metric_label} of {known.n_trials} trials after"
            f" epoch {known.epoch}, the last one that all of them reached; bars are 95 % of"
            " resampled trials."
        ],
    )


def _importance_picture(contents: StudyContents, known: Importances) -> Picture:
    found = list(reversed(known.found))
    figure, (axes,) = new_figure(height=1.2 + 0.36 * len(found))
    for position, importance in enumerate(found):
        low, high = importance.interval
        color = color_of(0) if importance.stands_out else GREY
        axes.errorbar(
            importance.share, position,
            xerr=[[importance.share - low], [high - importance.share]],
            fmt="o" if importance.stands_out else "s", color=color, capsize=3,
        )  # fmt: skip
    axes.scatter([], [], marker="o", color=color_of(0), label="more than chance would give")
    axes.scatter([], [], marker="s", color=GREY, label="may be chance")
    axes.set_yticks(range(len(found)), [i.name.replace(".", ".\n", 1) for i in found])
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlim(0, 1)
    in_percent(axes.xaxis)
    axes.set_xlabel("share in what sets the best apart")
    axes.figure.legend(loc="outside lower center")
    caption = (
        "Share of each hyperparameter in what sets the best quarter of the trials apart, by"
        f" {contents.metric_label}."
    )
    return Picture("importance", figure, caption)


def parallel_section(contents: StudyContents) -> Section:
    """Return all trials as lines through the searched values, and each value by itself."""
    title, space = "Values tried", contents.config.search_space
    trials = contents.scored
    if not space:
        return absent(title, "nothing was searched")
    if not trials:
        return absent(title, "no trial has finished an epoch")
    objective = contents.record.objective
    trials.sort(key=lambda trial: objective.worth(contents.score(trial)))
    notes = []
    if len(trials) > _N_LINES:
        notes = [f"Lines of the best {_N_LINES} of {len(trials)} trials."]
    slices = [_slice(contents, [t for t in trials if name in t.at_best], name) for name in space]
    return Section(title, pictures=[_parallel(contents, trials[-_N_LINES:]), *slices], notes=notes)


def _parallel(contents: StudyContents, trials: list[TrialState]) -> Picture:
    import matplotlib as mpl
    from matplotlib.colors import Normalize

    space = contents.config.search_space
    n_axes = len(space) + 1
    figure, (axes,) = new_figure(width=max(5.5, 1.55 * n_axes + 1.0), height=HEIGHT + 0.7)
    scores = [contents.score(trial) for trial in trials]
    low, high = min(scores), max(scores)
    scale = Normalize(low, high if high > low else low + 1e-9)
    colors = mpl.colormaps[_COLORS]
    is_high_good = contents.record.objective.worth(1.0) > 0
    for trial, score in zip(trials, scores, strict=True):  # the best one last, on top
        is_best = trial is contents.record.best
        merit = float(scale(score)) if is_high_good else 1.0 - float(scale(score))
        heights = [
            _height(trial.at_best[name], p) if name in trial.at_best else math.nan
            for name, p in space.items()
        ]  # the line is broken where a trial has no such hyperparameter
        axes.plot(
            range(n_axes), [*heights, float(scale(score))], zorder=3 if is_best else 2,
            color=color_of(5) if is_best else colors(0.3 + 0.4 * merit),
            linewidth=2.6 if is_best else 0.6 + 1.2 * merit,
            marker="o", markersize=3,
        )  # fmt: skip
    for position, parameter in enumerate(space.values()):
        _draw_scale(axes, position, _ticks(parameter))
    shown = [low + (high - low) * step / 4 for step in range(5)] if high > low else [low]
    ticks = [(float(scale(value)), cells.metric(contents.metric, value)) for value in shown]
    _draw_scale(axes, n_axes - 1, ticks)
    names = [_on_short_lines(name) for name in space]
    axes.set_xticks(range(n_axes), [*names, contents.metric_label.replace(" ", "\n", 1)])
    axes.tick_params(which="both", length=0, labeltop=False)
    axes.set_yticks([])
    axes.set_xlim(-0.25, n_axes - 0.45)
    axes.set_ylim(-0.04, 1.04)
    axes.spines[:].set_visible(False)
    best = contents.record.best
    caption = "Each line is a trial, each axis has its own scale; wider lines scored better" + (
        f", the widest one is the best, trial {best.id}." if best else "."
    )
    if any(parameter.when for parameter in space.values()):
        caption += " A line is broken where its trial has no such hyperparameter."
    return Picture("parallel_coordinates", figure, caption, is_wide=True)


def _on_short_lines(name: str) -> str:
    """Return a dotted path so that it is no wider than one axis of many.

    >>> _on_short_lines("loss.inverse_temperature_start").split(chr(10))
    ['loss.', 'inverse_temperature', '_start']
    """
    section, _, last = name.partition(".")
    return f"{section}.\n" + "\n".join(wrap(last.replace("_", " _"), 20)).replace(" _", "_")


def _draw_scale(axes: "Axes", position: int, ticks: list[tuple[float, str]]) -> None:
    axes.axvline(position, color="black", linewidth=0.9, zorder=1)
    for height, text in ticks:
        axes.plot(
            [position, position + 0.04], [height] * 2, color="black", linewidth=0.9, zorder=1
        )
        axes.text(position + 0.06, height, text, va="center", fontsize=7.5, zorder=4)


def _height(value: Value, parameter: Parameter) -> float:
    """Return where a value lies on its axis, from 0 to 1 within the range."""
    if isinstance(parameter, CategoricalParameter):
        names = [str(choice) for choice in parameter.choices]
        index = names.index(str(value)) if str(value) in names else 0
        return index / max(1, len(names) - 1)
    assert not isinstance(value, str), "a range of numbers has numbers"
    low, high, own = float(parameter.low), float(parameter.high), float(value)
    if parameter.log:
        low, high, own = math.log(low), math.log(high), math.log(own)
    return (own - low) / (high - low) if high > low else 0.5


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    """Return where an axis has which labels: the ends of the range, and round values between."""
    if isinstance(parameter, CategoricalParameter):
        return [(_height(choice, parameter), str(choice)) for choice in parameter.choices]
    from matplotlib.ticker import LogLocator, MaxNLocator

    locator = LogLocator(subs=(1, 2, 5)) if parameter.log else MaxNLocator(5)
    found = locator.tick_values(parameter.low, parameter.high)
    values = [v for v in found if parameter.low < v < parameter.high]
    if parameter.type == "int":
        values = [v for v in values if v == round(v)]
    ends = [(_height(v, parameter), cells.setting(v)) for v in (parameter.low, parameter.high)]
    between = [(_height(float(v), parameter), f"{v:g}") for v in values]
    return [*ends, *((h, text) for h, text in between if all(abs(h - e) > 0.07 for e, _ in ends))]


def _slice(contents: StudyContents, trials: list[TrialState], name: str) -> Picture:
    parameter = contents.config.search_space[name]
    figure, (axes,) = new_figure(width=3.6, height=2.8)
    for outcome, (mark, color) in OUTCOMES.items():
        some = [trial for trial in trials if trial.outcome == outcome]
        values: list[Any] = [trial.at_best[name] for trial in some]
        if isinstance(parameter, CategoricalParameter):
            values = [_height(value, parameter) * (len(parameter.choices) - 1) for value in values]
        scores = [contents.score(trial) for trial in some]
        label = outcome.replace("_", " ") if some else None
        axes.scatter(
            values, scores, marker=mark, color=color_of(color), s=20, alpha=0.8, label=label
        )
    if trials:
        axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    best = next((trial for trial in trials if trial is contents.record.best), None)
    if best is not None and not isinstance(parameter, CategoricalParameter):
        axes.axvline(float(best.at_best[name]), color=GREY, linewidth=0.9, linestyle=":")
    if isinstance(parameter, CategoricalParameter):
        axes.set_xticks(range(len(parameter.choices)), [str(c) for c in parameter.choices])
    else:
        margin = 0.04
        ends = (parameter.low, parameter.high)
        if parameter.log:
            factor = (parameter.high / parameter.low) ** margin
            axes.set_xlim(ends[0] / factor, ends[1] * factor)
            logarithmic(axes.xaxis)
        else:
            width = (parameter.high - parameter.low) * margin or 1.0
            axes.set_xlim(ends[0] - width, ends[1] + width)
            if parameter.type == "int":
                whole_numbers(axes.xaxis)
    if contents.is_fraction:
        in_percent(axes.yaxis)
    axes.set_xlabel(name)
    axes.set_ylabel(contents.metric_label)
    lines = lines_to_beat(contents)
    draw_lines(lines, axes.axhline)
    caption = f"Score of each trial by its {name}; the best one's is dotted."
    caption += " Dashed: what is to be beaten, as in the history of the search." if lines else ""
    return Picture(f"slice_{name.replace('.', '_')}", figure, caption)
