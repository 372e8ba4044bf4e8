"""What the best trial is held against: yardsticks on the same jets, and finalists over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.style import (
    GREY,
    Picture,
    color_of,
    draw_lines,
    in_percent,
    new_figure,
)
from ucluster_tune.study.finalists import PROTOCOLS, ConfirmationResult, Contender
from ucluster_tune.training.yardsticks import Measured, with_interval

_OWN: Final = "best trial of the search"
_OF_BARS: Final = {  # what a `Bar` calls a metric
    "clustering_accuracy": "accuracy",
    "clustering_accuracy_batched": "batched",
    **{name: name for name in ("purity", "nmi", "ari")},
}
_COLUMNS: Final = ("", "accuracy", "95 % interval", "in batches", "purity", "NMI", "ARI")


@dataclass(frozen=True)
class Bar:
    """One way to cluster, on the jets of one split.

    Attributes:
        title: of it.
        accuracy: clusters matched to classes once, over all jets.
        interval: 95 %, of the number of jets alone.
        batched: matched anew in each batch.
        n_jets: that were measured.
        purity, nmi, ari: see `EpochRecord`; None where they are not known.
    """

    title: str
    accuracy: float
    interval: tuple[float, float]
    batched: float | None
    n_jets: int
    purity: float | None = None
    nmi: float | None = None
    ari: float | None = None

    @classmethod
    def of_values(cls, title: str, values: Any) -> "Bar | None":
        """Return it of a measure's plain values, None where they lack what it needs."""
        accuracy, confusion = values.get("clustering_accuracy"), values.get("confusion")
        n_jets = sum(map(sum, confusion or []))
        if accuracy is None or not n_jets:
            return None
        return cls(
            title,
            accuracy,
            with_interval(values)["clustering_accuracy_interval"],
            values.get("clustering_accuracy_batched"),
            n_jets,
            *(values.get(name) for name in ("purity", "nmi", "ari")),
        )

    @classmethod
    def of_measured(cls, title: str, measured: Measured) -> "Bar":
        """Return it of what was measured."""
        return cls(
            title,
            measured.clustering_accuracy,
            measured.clustering_accuracy_interval,
            measured.clustering_accuracy_batched,
            measured.n_jets,
            measured.purity,
            measured.nmi,
            measured.ari,
        )


def best_on_test(contents: StudyContents) -> Bar | None:
    """Return the best trial on test jets, once it was measured there."""
    return Bar.of_values(_OWN, contents.record.best_test or {})


def supervised_on_same_jets(contents: StudyContents) -> Contender | None:
    """Return the network trained with labels, of the newest confirmation on these jets with it."""
    found = [
        contender
        for confirmation in contents.record.confirmations.values()
        if confirmation.result is not None and confirmation.plan.data_path is None
        for contender in confirmation.result.contenders
        if contender.uses_labels
    ]
    return found[-1] if found else None


def _supervised_bar(contender: Contender) -> Bar:
    once, batched = (contender.test[protocol] for protocol in PROTOCOLS)
    others = (
        sum(getattr(m, name) for m in contender.by_seed) / len(contender.by_seed)
        for name in ("purity", "nmi", "ari")
    )
    n_jets = contender.by_seed[0].n_jets
    seeds = cells.plural(len(contender.seeds), "seed")
    title = f"{contender.title} ({seeds})"
    return Bar(title, once.mean, once.interval, batched.mean, n_jets, *others)


def yardstick_bars(contents: StudyContents, split: str) -> list[Bar]:
    """Return the yardsticks that were measured on the jets of a split, upper bound last."""
    supervised = supervised_on_same_jets(contents) if split == "test" else None
    bars = _measured_bars(contents, split)
    return [*bars, _supervised_bar(supervised)] if supervised else bars


def _measured_bars(contents: StudyContents, split: str) -> list[Bar]:
    found = contents.record.yardsticks
    if found is None:
        mass = contents.record.baselines.get("kmeans_mass", {})
        is_of_split = mass.get("split") == split
        bar = Bar.of_values("k-means on the jet mass", mass) if is_of_split else None
        return [bar] if bar else []
    return [
        Bar.of_measured(yardstick.title, yardstick.by_split[split])
        for yardstick in found.yardsticks
        if split in yardstick.by_split
    ]


def lines_to_beat(contents: StudyContents) -> list[tuple[str, float]]:
    """Return the values that a picture of the objective on validation jets has as lines."""
    attribute = _OF_BARS.get(contents.metric)
    if attribute is None:
        return []
    bars = yardstick_bars(contents, "validation")
    known = [(bar.title, getattr(bar, attribute)) for bar in bars]
    lines = [(title, value) for title, value in known if value is not None]
    supervised = supervised_on_same_jets(contents)
    if supervised and attribute == "accuracy":
        lines.append((supervised.title, supervised.validation))
    if attribute == "batched":
        lines.append(_reference_line(contents))
    return lines


def own_words(contents: StudyContents) -> list[str]:
    """Return the answer that confirmed finalists give, in sentences; none where there are none."""
    confirmed = contents.record.confirmed
    return list(confirmed.result.words) if confirmed and confirmed.result else []


def mass_sentence(contents: StudyContents, test: Bar) -> list[str]:
    """Return how the best trial stands to each yardstick on the same test jets."""
    parts = []
    for bar in yardstick_bars(contents, "test"):
        points = 100 * (test.accuracy - bar.accuracy)
        side = "above" if points >= 0 else "below"
        apart = bar.interval[1] < test.interval[0] or test.interval[1] < bar.interval[0]
        sure = "" if apart else ", which one training on so few jets does not settle"
        parts.append(
            f"{abs(points):.1f} points {side} {bar.title} ({cells.percent(bar.accuracy)}{sure})"
        )
    return [f"On the same jets that is {', '.join(parts)}."] if parts else []


def yardsticks_section(contents: StudyContents) -> Section:
    """Return the best trial beside the yardsticks, with 95 % intervals."""
    title = "Yardsticks on the same jets"
    own = best_on_test(contents)
    split = "test" if own else "validation"
    bars = yardstick_bars(contents, split)
    if own is None and not bars:
        return absent(title, "neither the best trial nor a yardstick was measured yet")
    rows = [_row(bar) for bar in ([own] if own else []) + bars]
    reference = cells.percent(contents.record.reference_accuracy)
    rows.append((f"published: {_reference_jets(contents)}", "", "", reference, "", "", ""))
    table = Table("yardsticks", _COLUMNS, rows, strong=[0] if own else [])
    size = contents.config.training.evaluation_batch_size
    found = contents.record.yardsticks
    how = [f"{y.title}: {y.how}" for y in found.yardsticks] if found else []
    return Section(
        title,
        [f"Measured on {(own or bars[0]).n_jets:,} {split} jets."],
        [table],
        [_picture(contents, own, bars, split)],
        notes=[
            "Accuracy: clusters matched to classes once, one to one, over all jets. In batches:"
            f" anew in each batch of {size} jets, as published, which flatters. Intervals are of"
            " the number of jets alone, but for a training over several seeds; another seed may"
            " move the best trial by more.",
            f"Published: {contents.config.reference.source}.",
            *how,
        ],
    )


def finalists_section(contents: StudyContents) -> Section:
    """Return the finalists over their seeds, on test jets."""
    title, confirmed = "Finalists", contents.record.confirmed
    if confirmed is None or confirmed.result is None:
        why = f"type `{cells.command('confirm', contents.paths, contents.record.name)}`"
        if contents.record.open_confirmation is not None:
            why = "their trainings have not all come to an end"
        return absent(title, f"the best trials were not trained again with fresh seeds: {why}")
    result = confirmed.result
    rows = []
    for contender in result.contenders:
        accuracy, batched = (
            contender.test[p] for p in ("clustering_accuracy", "clustering_accuracy_batched")
        )
        rows.append(
            (
                contender.title,
                str(len(contender.seeds)),
                cells.metric(contents.metric, contender.validation),
                cells.percent(accuracy.mean),
                _interval(accuracy.interval),
                cells.NOTHING if accuracy.spread is None else f"{100 * accuracy.spread:.1f}",
                cells.percent(batched.mean),
                cells.metric(contents.metric, contender.search_score),
            )
        )
    columns = (
        "", "seeds", "validation", "test accuracy", "95 % interval", "spread, points",
        "in batches", "score in the search",
    )  # fmt: skip
    chosen = [i for i, c in enumerate(result.contenders) if c.trial == result.chosen]
    lines = [
        (y.title, y.by_split["test"].clustering_accuracy) for y in result.yardsticks.yardsticks
    ]
    differences = [
        (
            comparison.title,
            "in batches" if comparison.protocol.endswith("batched") else "over all jets",
            f"{100 * comparison.difference.mean:+.1f}",
            f"{100 * comparison.difference.interval[0]:+.1f} to"
            f" {100 * comparison.difference.interval[1]:+.1f}",
            f"{100 * comparison.difference.probability_above_zero:.0f} %",
            comparison.verdict,
        )
        for comparison in result.comparisons
    ]
    return Section(
        title,
        [f"Chosen on validation jets, quoted on {result.n_test_jets:,} test jets."],
        [
            Table("finalists", columns, rows, strong=chosen),
            Table(
                "comparisons",
                ("the chosen one less", "matched", "points", "95 % interval",
                 "probability to be above", "verdict"),
                differences,
                n_text=2,
            ),
        ],
        [_finalists_picture(result, lines)],
    )  # fmt: skip


def _row(bar: Bar) -> tuple[str, ...]:
    return (
        bar.title,
        cells.percent(bar.accuracy),
        _interval(bar.interval),
        cells.percent(bar.batched),
        cells.percent(bar.purity),
        cells.number(bar.nmi),
        cells.number(bar.ari),
    )


def _interval(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def _reference_jets(contents: StudyContents) -> str:
    """Return the data set of the reference, and that it is no yardstick on other jets."""
    source, found = contents.config.reference.source, contents.record.yardsticks
    jets = "HLS4ML jets, in batches" if "HLS4ML" in source else source
    return jets if found is None or found.is_reference_data else f"{jets}; no yardstick here"


def _reference_line(contents: StudyContents) -> tuple[str, float]:
    accuracy = contents.record.reference_accuracy
    return f"{cells.percent(accuracy)}, {_reference_jets(contents)}", accuracy


def _picture(contents: StudyContents, own: Bar | None, bars: list[Bar], split: str) -> Picture:
    shown = [*reversed(bars), *([own] if own else [])]
    figure, (axes,) = new_figure(height=1.9 + 0.42 * len(shown))
    draw_lines([_reference_line(contents)], axes.axvline)
    for position, bar in enumerate(shown):
        low, high = bar.interval
        is_own = bar is own
        axes.errorbar(
            bar.accuracy,
            position,
            xerr=[[bar.accuracy - low], [high - bar.accuracy]],
            fmt="o" if is_own else "s",
            color=color_of(0) if is_own else GREY,
            capsize=3,
        )
        if bar.batched is not None:
            axes.scatter(
                bar.batched, position - 0.24, marker="o" if is_own else "s", s=24,
                facecolors="none", edgecolors=color_of(0) if is_own else GREY,
            )  # fmt: skip
    for face, label in ((GREY, "matched once, 95 % interval"), ("none", "matched in batches")):
        axes.scatter([], [], marker="s", s=24, facecolors=face, edgecolors=GREY, label=label)
    axes.figure.legend(loc="outside lower center")
    axes.set_yticks(range(len(shown)), [_folded(bar.title) for bar in shown])
    axes.tick_params(axis="y", which="both", length=0)
    axes.minorticks_on()
    axes.yaxis.set_tick_params(which="minor", length=0)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    in_percent(axes.xaxis)
    axes.set_xlabel(f"clustering accuracy on {split} jets")
    caption = (
        f"Clustering accuracy on {split} jets: matched once, with 95 % intervals, and hollow, in"
        " batches. Dashed: the published value, which is one in batches."
    )
    return Picture("yardsticks", figure, caption)


def _finalists_picture(result: ConfirmationResult, lines: Sequence[tuple[str, float]]) -> Picture:
    contenders = list(reversed(result.contenders))
    figure, (axes,) = new_figure(height=1.3 + 0.42 * len(contenders) + 0.2 * len(lines))
    draw_lines(lines, axes.axvline)
    for position, contender in enumerate(contenders):
        estimate = contender.test["clustering_accuracy"]
        color = color_of(0) if contender.trial == result.chosen else GREY
        low, high = estimate.interval
        axes.errorbar(
            estimate.mean, position, xerr=[[estimate.mean - low], [high - estimate.mean]],
            fmt="o", color=color, capsize=3,
        )  # fmt: skip
        seeds = [measured.clustering_accuracy for measured in contender.by_seed]
        axes.scatter(seeds, [position + 0.2] * len(seeds), marker="|", color=color, s=40)
    names = [_folded(contender.title) for contender in contenders]
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(-0.6, len(names) - 0.4)
    in_percent(axes.xaxis)
    axes.set_xlabel("clustering accuracy on test jets")
    if lines:
        axes.figure.legend(loc="outside lower center")
    caption = (
        "Finalists on test jets: mean over seeds with the 95 % interval of seeds and jets; a bar"
        " above for each seed."
    )
    return Picture("finalists", figure, caption)


def _folded(title: str) -> str:
    """Return a title in two lines where it is long: names of rows take room from the numbers."""
    head, mark, rest = title.partition(" (")
    if mark:
        return f"{head}\n({rest}"
    words = title.split()
    half = (len(words) + 1) // 2
    return title if len(title) < 24 else " ".join(words[:half]) + "\n" + " ".join(words[half:])
