"""The page's part on several objectives: the trials that no other one beats."""

from ucluster_tune.report import cells
from ucluster_tune.report.front_words import front_rows, objectives_in_words
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.course import OUTCOMES
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.style import (
    GREY,
    Picture,
    color_of,
    in_percent,
    new_figure,
)
from ucluster_tune.study.pareto import pareto_front


def front_section(contents: StudyContents) -> Section | None:
    """Return the Pareto front with a picture of it for each further objective, if there is one."""
    title, objective = "Pareto front", contents.record.objective
    if not objective.others:
        return None
    rows = front_rows(contents.record)
    if not rows:
        return absent(title, "no trial has finished an epoch of the clustering phase")
    told = (
        f"To {objectives_in_words(objective)}: no other trial beats"
        f" {'this one' if len(rows) == 1 else f'these {len(rows)}'} in all of them, of"
        f" {cells.plural(len(contents.scored), 'trial')}."
    )
    names = [metric.replace("_", " ") for metric in objective.metrics]
    return Section(
        title,
        [told],
        [Table("pareto_front", ["trial", *names], rows)],
        [_picture(contents, metric) for metric in objective.others],
    )


def _picture(contents: StudyContents, other: str) -> Picture:
    figure, (axes,) = new_figure()
    front = {trial.id for trial in pareto_front(contents.record)}
    for outcome, (mark, color) in OUTCOMES.items():
        some = [trial for trial in contents.scored if trial.outcome == outcome]
        for trial in some:
            value = None if trial.best is None else trial.best.value(other)
            if value is None:
                continue
            is_best = trial.id in front
            axes.scatter(
                value, contents.score(trial), marker=mark, s=40 if is_best else 20,
                color=color_of(color) if is_best else GREY, zorder=3 if is_best else 2,
            )  # fmt: skip
        if some:
            name = outcome.replace("_", " ")
            axes.scatter([], [], marker=mark, color=color_of(color), s=26, label=name)
    axes.set_xlabel(other.replace("_", " "))
    axes.set_ylabel(contents.metric_label)
    if contents.is_fraction:
        in_percent(axes.yaxis)
    axes.figure.legend(loc="outside lower center", ncols=2)
    caption = "All trials at their best epochs; those of the Pareto front are large and coloured."
    return Picture(f"pareto_{other}", figure, caption)
