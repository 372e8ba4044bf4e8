"""How the search went: scores by trial and by cost, learning curves, outcomes, time."""

from typing import TYPE_CHECKING, Final

from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.style import (
    GREY,
    Picture,
    color_of,
    draw_lines,
    in_percent,
    logarithmic,
    new_figure,
    whole_numbers,
)
from ucluster_tune.report.page.yardsticks import lines_to_beat
from ucluster_tune.study.events import seconds_between
from ucluster_tune.study.trainings import Outcome, TrialState
from ucluster_tune.trial.failures import in_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTCOMES: Final[dict[Outcome, tuple[str, int]]] = {  # mark and colour
    "complete": ("o", 0),
    "stopped_early": ("v", 1),
    "failed": ("X", 5),
    "interrupted": ("s", 3),
    "running": ("D", 4),
}
_N_CURVES: Final = 200  # more cannot be told apart, and make the page heavy


def history_section(contents: StudyContents) -> Section:
    """Return the score of each trial, and the best one so far, by trial and by cost."""
    title = "History of the search"
    if not contents.scored:
        return absent(title, "no trial has finished an epoch")
    return Section(title, pictures=[_by_trial(contents), _by_cost(contents)])


def best_so_far(contents: StudyContents) -> tuple[list[float], list[float]]:
    """Return the cost, in `contents.unit`, after each trial's end, and the best score by then."""
    objective = contents.record.objective
    ended = sorted(contents.record.trials.values(), key=lambda t: t.ended or "~")
    costs, scores, cost = [], [], 0.0
    best: float | None = None
    for trial in ended:
        cost += sum(contents.hours(training) for training in trial.searched)
        if trial.best is None or trial.outcome == "failed":
            continue
        score = contents.score(trial)
        best = score if best is None or objective.worth(score) > objective.worth(best) else best
        costs.append(cost)
        scores.append(best)
    return costs, scores


def _by_trial(contents: StudyContents) -> Picture:
    figure, (axes,) = new_figure()
    numbers = {name: number for number, name in enumerate(contents.record.trials, start=1)}
    objective, best, steps = contents.record.objective, None, []
    for trial in contents.scored:
        mark, color = OUTCOMES[trial.outcome]
        score = contents.score(trial)
        axes.scatter(numbers[trial.id], score, marker=mark, color=color_of(color), s=26, zorder=3)
        if trial.outcome != "failed":
            better = best is None or objective.worth(score) > objective.worth(best)
            best = score if better else best
            steps.append((numbers[trial.id], best))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=1.4)
    for outcome, (mark, color) in OUTCOMES.items():
        if any(trial.outcome == outcome for trial in contents.scored):
            name = outcome.replace("_", " ")
            axes.scatter([], [], marker=mark, color=color_of(color), s=26, label=name)
    axes.plot([], [], color=GREY, linewidth=1.4, label="best so far")
    _with_lines(contents, axes)
    axes.set_xlabel("trial")
    whole_numbers(axes.xaxis)
    caption = "Score of each trial on validation jets at its best epoch, and the best one so far."
    return Picture("history_by_trial", figure, caption)


def _by_cost(contents: StudyContents) -> Picture:
    figure, (axes,) = new_figure()
    costs, scores = best_so_far(contents)
    axes.step(costs, scores, where="post", color=color_of(0), marker="o", markersize=3)
    axes.plot([], [], color=color_of(0), marker="o", markersize=3, label="best so far")
    _with_lines(contents, axes)
    axes.set_xlabel(f"{contents.unit} of training")
    caption = f"The best score on validation jets by the {contents.unit} that training took."
    return Picture("history_by_cost", figure, caption)


def _with_lines(contents: StudyContents, axes: "Axes") -> None:
    """Draw what is to be beaten, name the vertical axis, and put the legend below the picture."""
    draw_lines(lines_to_beat(contents), axes.axhline)
    axes.set_ylabel(contents.metric_label)
    if contents.is_fraction:
        in_percent(axes.yaxis)
    axes.figure.legend(loc="outside lower center", ncols=2)


def curves_section(contents: StudyContents) -> Section:
    """Return the objective and the losses by epoch, the best trial before the others."""
    title = "Learning curves"
    trials = [trial for trial in contents.record.trials.values() if trial.records]
    if not trials:
        return absent(title, "no trial has finished an epoch")
    notes = []
    if len(trials) > _N_CURVES:
        by_rank = sorted(trials, key=lambda t: t.rank or (False, float("-inf")))
        trials, n_all = by_rank[-_N_CURVES:], len(trials)
        notes = [f"The best {_N_CURVES} of {n_all} trials."]
    pictures = [
        _curves(contents, trials, contents.metric, contents.metric_label, with_lines=True),
        *(_curves(contents, trials, name, name.replace("_", " ")) for name in _losses(contents)),
    ]
    return Section(title, pictures=pictures, notes=notes)


def _losses(contents: StudyContents) -> list[str]:
    return [name for name in ("focal_loss", "clustering_loss") if name != contents.metric]


def _curves(
    contents: StudyContents,
    trials: list[TrialState],
    metric: str,
    label: str,
    *,
    with_lines: bool = False,
) -> Picture:
    figure, (axes,) = new_figure()
    best = contents.record.best
    values_of_all: list[float] = []
    for trial in trials:
        known = [(r.epoch, r.value(metric)) for r in trial.records]
        points = [(epoch, value) for epoch, value in known if value is not None]
        if metric == "clustering_loss":
            points = [(epoch, value) for epoch, value in points if value > 0]
        if not points:
            continue
        epochs, values = zip(*points, strict=True)
        values_of_all += values
        mark, _ = OUTCOMES[trial.outcome]
        is_best = trial is best
        color, width = (color_of(0), 2.2) if is_best else (GREY, 0.8)
        axes.plot(epochs, values, color=color, linewidth=width, zorder=3 if is_best else 2)
        axes.scatter(epochs[-1:], values[-1:], marker=mark, color=color, s=22, zorder=3)
    n_before = contents.config.training.n_pretraining_epochs
    axes.axvline(n_before + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot([], [], color=color_of(0), linewidth=2.2, label=f"trial {best.id}" if best else "")
    axes.plot([], [], color=GREY, linewidth=0.8, label="others")
    axes.plot([], [], color=GREY, linewidth=0.8, linestyle=":", label="pretraining ends")
    is_loss = metric.endswith("_loss")
    if is_loss and values_of_all and min(values_of_all) > 0:
        logarithmic(axes.yaxis)
    axes.set_xlabel("epoch")
    whole_numbers(axes.xaxis)
    if with_lines:
        _with_lines(contents, axes)
    else:
        axes.set_ylabel(label)
        axes.figure.legend(loc="outside lower center", ncols=3)
    where = "validation" if not is_loss else "training"
    caption = f"{label[:1].upper()}{label[1:]} on {where} jets by epoch, a line each trial."
    return Picture(f"curves_{metric}", figure, caption)


def outcomes_section(contents: StudyContents) -> Section:
    """Return all trials with their values, how they ended and why."""
    trials = list(contents.record.trials.values())
    if not trials:
        return absent("Outcomes of all trials", "no trial has begun")
    names = list(dict.fromkeys(name for t in trials for name in t.at_best))
    has_seeds = contents.record.objective.seeds_per_trial > 1
    is_labelled = contents.record.is_labelled
    rows = []
    for trial in trials:
        batched = cells.percent(trial.value("clustering_accuracy_batched"))
        rows.append(
            (
                trial.id,
                cells.outcome(trial).plain,
                cells.epochs(trial),
                cells.metric(contents.metric, trial.score(contents.record.objective)),
                *([cells.spread(contents.metric, trial)] if has_seeds else []),
                *([batched] if is_labelled else []),
                *(cells.setting(trial.at_best.get(name, "")) for name in names),
            )
        )
    columns = ["trial", "outcome", "epochs", contents.metric_label]
    columns += ["seeds"] if has_seeds else []
    columns += ["in batches"] if is_labelled else []
    best_row = [i for i, trial in enumerate(trials) if trial is contents.record.best]
    short = [name.rpartition(".")[2].replace("_", " ") for name in names]
    tables = [
        Table("trials", (*columns, *short), rows, strong=best_row, n_text=2,
              is_long=len(rows) > 40)
    ]  # fmt: skip
    causes = [
        (trial.id, trial.outcome.replace("_", " "), in_one_line(trial.kind, trial.cause))
        for trial in trials
        if trial.cause
    ]
    if causes:
        heads = ("trial", "outcome", "cause")
        tables.append(Table("causes", heads, causes, n_text=3, is_long=len(causes) > 40))
    return Section("Outcomes of all trials", tables=tables)


def time_section(contents: StudyContents) -> Section:
    """Return what the trials' time was spent on."""
    title, record = "Where the time went", contents.record
    trainings = [t for trial in record.trials.values() for t in trial.searched if t.records]
    if not trainings:
        return absent(title, "no trial has finished an epoch")
    before = epochs = between = after = 0.0
    for training in trainings:
        first, last = training.records[0], training.records[-1]
        begun = seconds_between(training.started, training.times[first.epoch])
        before += max(0.0, begun - (first.value("seconds") or 0.0))
        in_epochs = sum(r.value("seconds") or 0.0 for r in training.records)
        epochs += in_epochs
        whole = seconds_between(training.times[first.epoch], training.times[last.epoch])
        between += max(0.0, whole - in_epochs + (first.value("seconds") or 0.0))
        if training.ended is not None:
            after += seconds_between(training.times[last.epoch], training.ended)
    parts = (
        ("epochs: training and its measure on validation jets", epochs),
        ("before the first epoch: waiting for CPUs, starting workers, reading jets", before),
        ("between epochs: the driver's decisions, and interruptions", between),
        ("after the last epoch: ending workers", after),
    )
    total = sum(seconds for _, seconds in parts) or 1.0
    rows = [
        (what, cells.duration(seconds), f"{100 * seconds / total:.1f} %")
        for what, seconds in parts
    ]
    sentences = [
        f"{cells.plural(len(trainings), 'trial')} took {cells.duration(total)} one after the"
        f" other, and {contents.hours_of_search:.3g} {contents.unit} of training."
    ]
    waited = seconds_between(record.started, min(training.started for training in trainings))
    sentences.append(f"The first trial began {cells.duration(waited)} after the study did.")
    return Section(
        title, sentences, [Table("time", ("of all trials' time", "time", "share"), rows)]
    )
