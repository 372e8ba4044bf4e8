"""The page's beginning: what a search found, in words, and the best configuration."""

from ucluster_tune.config.search_space import published_values
from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.yardsticks import best_on_test, mass_sentence, own_words
from ucluster_tune.report.trials_table import outcome_counts
from ucluster_tune.report.yardstick_words import WITHOUT_LABELS
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.knowledge import settings
from ucluster_tune.study.status import remaining_s
from ucluster_tune.study.trainings import TrialState


def answer_in_words(contents: StudyContents) -> list[str]:
    """Return what was confirmed, then what the search found, in sentences."""
    return [*own_words(contents), *search_in_words(contents)]


def search_in_words(contents: StudyContents) -> list[str]:
    """Return what the search alone found, in sentences about the weights of its best trial."""
    record = contents.record
    counts = outcome_counts(record)
    begun = (
        f"{cells.plural(len(record.trials), 'trial')} ({counts}) in"
        f" {cells.duration(elapsed_s(record))} and {contents.hours_of_search:.2g} {contents.unit}"
    )
    if record.best is None or record.best.best is None:
        state = "has found nothing yet" if record.state == "running" else "found nothing"
        why = f": {record.cause}" if record.cause else ""
        return [f"The search {state}{why}. It began {begun}."]
    found = []
    best, epoch = record.best, record.best.best
    score = cells.metric(contents.metric, contents.score(best))
    chosen = (
        f"trial {best.id} at epoch {epoch.epoch}, the best of {begun}:"
        f" {contents.metric_label} {score} on validation jets, on which it was chosen, which"
        " flatters"
    )
    spread = best.spread(contents.metric)
    if spread is not None:
        chosen += (
            f"; that is the mean of {best.n_seeds} seeds, whose standard deviation is"
            f" {cells.metric(contents.metric, spread)}; epoch and test jets are of the best one"
        )
    test = best_on_test(contents)
    if test is not None:
        low, high = test.interval
        found.append(
            f"It puts {cells.percent(test.accuracy)} of {test.n_jets:,} test jets, never used"
            f" before, into the cluster that belongs to their class (95 % interval"
            f" {100 * low:.1f} to {100 * high:.1f} %), without having seen a label."
        )
        found += mass_sentence(contents, test)
        reference = cells.below_reference(test.batched, record.reference_accuracy)
        found.append(
            f"Matched anew within each batch of {contents.config.training.evaluation_batch_size},"
            f" as published, it is {cells.percent(test.batched)}: {reference}"
            f" ({contents.config.reference.source}){_reference_remark(contents)}."
        )
    begin = "So far the search would choose" if record.state == "running" else "The search chose"
    found += [] if record.is_labelled else [f"{WITHOUT_LABELS}."]
    return [f"{begin} {chosen}.", *found, *_what_is_left(contents)]


def _reference_remark(contents: StudyContents) -> str:
    yardsticks = contents.record.yardsticks
    if yardsticks is None or yardsticks.is_reference_data:
        return ""
    return f", which is no yardstick here: these jets are others, {yardsticks.dataset_name}"


def _what_is_left(contents: StudyContents) -> list[str]:
    record = contents.record
    if record.state == "running":
        left = remaining_s(record)
        return ["The search still runs" + (f", {cells.about(left)} left." if left else ".")]
    if record.state != "complete":
        return [f"The search is {record.state}: {record.cause or 'no cause was recorded'}."]
    return []


def answer_section(contents: StudyContents) -> Section:
    """Return the answer."""
    return Section("The answer", answer_in_words(contents))


def best_section(contents: StudyContents) -> Section:
    """Return the best configuration beside the published one and the ranges searched.

    Where trials were trained again and another one was the best of these, it comes first.
    """
    title, best = "Best configuration", contents.record.best
    if best is None:
        return absent(title, "no trial has finished an epoch")
    space, published = contents.config.search_space, published_values()
    confirmed = _confirmed(contents)
    shown = {"best": best}
    words = f"Trial {best.id}, epoch {best.best_epoch} of {best.n_epochs}."
    if confirmed is not None and confirmed.id != best.id:
        shown = {"confirmed": confirmed, "best of the search": best}
        words = f"Confirmed: trial {confirmed.id}. The search itself had chosen t{words[1:]}"
    values = [settings(contents.record, trial) for trial in shown.values()]
    rows = []
    for name in dict.fromkeys(name for of_trial in values for name in of_trial):
        parameter = space.get(name)
        rows.append(
            (
                name,
                *(cells.setting(of_trial.get(name, cells.NOTHING)) for of_trial in values),
                cells.setting(published.get(name, cells.NOTHING)),
                cells.NOTHING if parameter is None else _range(parameter.model_dump()),
            )
        )
    if not rows:
        return Section(title, ["The study's configuration as it stands: nothing was searched."])
    columns = ("hyperparameter", *shown, "published recipe", "searched")
    table = Table("best_configuration", columns, rows)
    return Section(title, [words], [table], notes=_at_an_edge(contents))


def _confirmed(contents: StudyContents) -> TrialState | None:
    """Return the trial that the newest confirmation chose; None for the published recipe."""
    newest = contents.record.confirmed
    if newest is None or newest.result is None:
        return None
    return contents.record.trials.get(newest.result.chosen)


def _range(parameter: dict[str, object]) -> str:
    if "choices" in parameter:
        choices = parameter["choices"]
        assert isinstance(choices, tuple | list)
        return ", ".join(map(str, choices))
    words = f"{cells.setting(parameter['low'])} to {cells.setting(parameter['high'])}"
    return words + (", logarithmic" if parameter.get("log") else "")


def _at_an_edge(contents: StudyContents) -> list[str]:
    """Return a remark where the best value lies at the end of a range: it may go on beyond."""
    best = contents.record.best
    assert best is not None
    at_edge = []
    for name, parameter in contents.config.search_space.items():
        value = best.at_best.get(name)
        if parameter.type == "categorical" or not isinstance(value, int | float):
            continue
        if parameter.low < parameter.high and value in (parameter.low, parameter.high):
            at_edge.append(name)
    if not at_edge:
        return []
    names = ", ".join(at_edge)
    return [f"At an end of its range: {names}. A wider range may hold better values."]
