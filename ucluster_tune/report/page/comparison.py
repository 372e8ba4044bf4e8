"""Several studies on one page: what each found, at what cost, and in what they differ."""

from collections.abc import Sequence
from datetime import datetime

from ucluster_tune import __version__
from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents, read_contents
from ucluster_tune.report.page.course import best_so_far
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.style import (
    DASHES,
    Picture,
    color_of,
    in_percent,
    new_figure,
    physics_style,
)
from ucluster_tune.report.page.writing import Page
from ucluster_tune.report.page.yardsticks import best_on_test, yardstick_bars
from ucluster_tune.report.pictures import MARKS
from ucluster_tune.report.yardstick_tables import interval_in_percent
from ucluster_tune.study.finalists import PROTOCOLS, Contender
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

_SEARCHES = ("search_space", "objective", "sampler", "scheduler", "budget", "resources")


def comparison_page(studies: Sequence[tuple[StudyRecord, StudyPaths]]) -> Page:
    """Return the page that holds several studies against each other.

    Raises:
        StudyError: this version of the program does not know all of one of them.
    """
    contents = [read_contents(record, paths) for record, paths in studies]
    names = ", ".join(study.record.name for study in contents)
    with physics_style():
        sections = [
            _answer(contents),
            _found(contents),
            _to_beat(contents),
            _history(contents),
            _differences(contents),
        ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    about = f"Written {now} by ucluster-tune {__version__}."
    return Page(f"Searches {names}", about, sections, "comparison.html")


def _answer(contents: Sequence[StudyContents]) -> Section:
    title = "The answer"
    confirmed = _confirmed_answer(contents)
    if confirmed:
        return Section(title, confirmed)
    measured = [(study, best_on_test(study)) for study in contents]
    known = [(study, bar) for study, bar in measured if bar is not None]
    if len(known) < 2:
        return absent(title, "fewer than two of them were measured on test jets")
    sentences = []
    first, own = max(known, key=lambda pair: pair[1].accuracy)
    for study, bar in known:
        if study is first:
            continue
        points = 100 * (own.accuracy - bar.accuracy)
        overlap = bar.interval[1] >= own.interval[0]
        sentences.append(
            f"The best trial of {first.record.name} is {points:.1f} points above that of"
            f" {study.record.name} on test jets"
            + (", which one training each on so few jets does not settle." if overlap else ".")
        )
    if len({study.record.dataset_checksum for study, _ in known}) > 1:
        sentences.append("They were measured on different jets, so that this says little.")
    return Section(title, sentences)


def _confirmed_answer(contents: Sequence[StudyContents]) -> list[str]:
    """Return how the confirmed trials stand to each other; nothing where a study has none."""
    known = [(study, winner) for study in contents if (winner := _winner(study))]
    if len(known) < len(contents):
        return []
    first, own = max(known, key=lambda pair: pair[1].test[PROTOCOLS[0]].mean)
    best = own.test[PROTOCOLS[0]]
    sentences = []
    for study, winner in known:
        if study is first:
            continue
        other = winner.test[PROTOCOLS[0]]
        overlap = "; their 95 % intervals overlap" if other.interval[1] >= best.interval[0] else ""
        sentences.append(
            f"Trained again with fresh seeds, trial {own.trial} of {first.record.name}"
            f" ({cells.plural(len(own.seeds), 'seed')}) is {100 * (best.mean - other.mean):.1f}"
            f" points above trial {winner.trial} of {study.record.name}"
            f" ({cells.plural(len(winner.seeds), 'seed')}) on test jets{overlap}."
        )
    if len({_checksum_confirmed_on(study) for study, _ in known}) > 1:
        sentences.append("They were measured on different jets, so that this says little.")
    return sentences


def _winner(study: StudyContents) -> Contender | None:
    confirmed = study.record.confirmed
    return confirmed.result.winner if confirmed and confirmed.result else None


def _checksum_confirmed_on(study: StudyContents) -> str:
    confirmed = study.record.confirmed
    return (confirmed and confirmed.plan.dataset_checksum) or study.record.dataset_checksum


def _confirmed_cells(winner: Contender | None) -> tuple[str, str, str]:
    if winner is None:
        return (cells.NOTHING, "", "")
    found = winner.test[PROTOCOLS[0]]
    return cells.percent(found.mean), _range(found.interval), str(len(winner.seeds))


def _range(interval: tuple[float, float]) -> str:
    return f"{interval_in_percent(interval)} %"


def _found(contents: Sequence[StudyContents]) -> Section:
    rows = []
    for study in contents:
        record, test = study.record, best_on_test(study)
        best = record.best
        rows.append(
            (
                record.name,
                record.state,
                f"{record.n_finished}/{record.n_trials}",
                f"{study.hours_of_search:.3g}",
                cells.NOTHING if best is None else cells.metric(study.metric, study.score(best)),
                cells.percent(test.accuracy if test else None),
                _range(test.interval) if test else "",
                cells.percent(test.batched if test else None),
                *_confirmed_cells(_winner(study)),
                record.dataset_checksum[:10],
            )
        )
    columns = (
        "study", "state", "trials", contents[0].unit, "validation", "test accuracy",
        "95 % interval", "in batches", "confirmed", "95 % interval", "seeds", "jets",
    )  # fmt: skip
    return Section("What each found", tables=[Table("studies", columns, rows, n_text=2)])


def _to_beat(contents: Sequence[StudyContents]) -> Section:
    """Return what simple ways to cluster, and the network with labels, reach on test jets."""
    title = "Yardsticks on the test jets of each"
    bars = [{bar.title: bar for bar in yardstick_bars(study, "test")} for study in contents]
    names = dict.fromkeys(name for own in bars for name in own)
    if not names:
        return absent(title, "none was measured")
    rows = [
        (name, *(cells.percent(own[name].accuracy) if name in own else "" for own in bars))
        for name in names
    ]
    columns = ("", *(study.record.name for study in contents))
    return Section(title, tables=[Table("yardsticks", columns, rows)])


def _history(contents: Sequence[StudyContents]) -> Section:
    title = "The best score by cost"
    if len({study.metric for study in contents}) > 1:
        return absent(title, "they look for different metrics")
    if not any(study.scored for study in contents):
        return absent(title, "no trial has finished an epoch")
    figure, (axes,) = new_figure()
    for number, study in enumerate(contents):
        costs, scores = best_so_far(study)
        axes.step(
            costs, scores, where="post", color=color_of(number), label=study.record.name,
            marker=MARKS[number % len(MARKS)], markersize=4,
            linestyle="-" if number == 0 else DASHES[(number - 1) % len(DASHES)],
        )  # fmt: skip
    axes.set_xlabel(f"{contents[0].unit} of training")
    axes.set_ylabel(contents[0].metric_label)
    if contents[0].is_fraction:
        in_percent(axes.yaxis)
    axes.figure.legend(loc="outside lower center", ncols=3)
    caption = "The best score on validation jets so far, by what training took."
    return Section(title, pictures=[Picture("best_by_cost", figure, caption)])


def _differences(contents: Sequence[StudyContents]) -> Section:
    """Return the best values of each, and every setting in which they differ."""
    title = "In what they differ"
    values = [_settings(study.config) for study in contents]
    best = [study.record.best.at_best if study.record.best else {} for study in contents]
    rows = []
    for path in dict.fromkeys(path for own in best for path in own):
        row = [cells.setting(own.get(path, values[i].get(path, ""))) for i, own in enumerate(best)]
        rows.append((f"best {path}", *row))
    for path in dict.fromkeys(path for own in values for path in own):
        row = [cells.setting(own.get(path, cells.NOTHING)) for own in values]
        if len(set(row)) > 1:
            rows.append((path, *row))
    if not rows:
        return absent(title, "they have the same settings")
    columns = ("", *(study.record.name for study in contents))
    return Section(title, tables=[Table("differences", columns, rows)])


def _settings(config: StudyConfig) -> dict[str, object]:
    """Return each value of a configuration by its dotted path; a range is one value."""
    flat: dict[str, object] = {}
    for section in ("data", "model", "loss", "training", *_SEARCHES):
        own = dict(getattr(config, section))
        for key, found in own.items():
            if f"{section}.{key}" not in config.search_space:
                is_range = hasattr(found, "model_dump")
                value = found.model_dump(exclude_none=True) if is_range else found
                is_number = isinstance(value, float | int)
                flat[f"{section}.{key}"] = value if is_number else uri_without_password(str(value))
    return flat
