"""The model card of an export: what it is, what it was trained on, how good it is, its limits."""

from collections.abc import Sequence
from typing import Final

from ucluster_tune.config.passwords import uri_without_password
from ucluster_tune.data.format.manifest import Manifest
from ucluster_tune.models.exported.check import TOLERANCE, ExportCheck
from ucluster_tune.models.exported.examples import EXAMPLES
from ucluster_tune.models.exported.writing import EXAMPLE, EXPORT_JSON
from ucluster_tune.models.saved import SavedModel
from ucluster_tune.report import cells
from ucluster_tune.report.page.answer import search_in_words
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.yardsticks import Bar, best_on_test, yardstick_bars
from ucluster_tune.report.pictures import match_clusters
from ucluster_tune.report.yardstick_tables import interval_in_percent
from ucluster_tune.study.confirming import plan_of
from ucluster_tune.study.trainings import TrainingState, TrialState
from ucluster_tune.training.record import EpochRecord

TITLES: Final = {
    "savedmodel": "TensorFlow SavedModel",
    "onnx": "ONNX",
    "folder": "model folder of ucluster-tune",
}
_NO_CLASS: Final = ""
_WHAT: Final = """\
ABCnet-UCluster (arXiv:2010.07106): a graph-attention network that puts a jet into a small space in
which k-means finds clusters, trained without labels."""
_IN_AND_OUT: Final = """\
In go the momenta of a jet's constituents, px, py, pz and energy in GeV, in any order, filled up
with zeros to the same number in all jets: `constituents`, float32 [jet, constituent, 4]. The
hardest 100 are looked at. The jet's own momentum is the sum of all.

| out | type | meaning |
|---|---|---|
| `embedding` | float32 [jet, {dim}] | the jet in the space of the network |
| `distances` | float32 [jet, {clusters}] | squared distance to each centroid |
| `cluster` | int64 [jet] | the nearest centroid |
"""
_JET_CLASS: Final = "| `jet_class` | string [jet] | the class that the cluster is matched with |\n"
_MORE_SIGNATURES: Final = """
Beside `serving_default` there are the signatures `with_jet`, with the jet's momentum as a second
input (`jet`, float32 [jet, 4]) where the constituents are not all of it, and `from_features`, with
the eight features of a data set in place of momenta."""
_FOLDER_IN_AND_OUT: Final = """\
Weights and configuration, for `ucluster-tune predict`, which writes embedding, distances and
cluster of each jet of a data set."""
_INTENDED: Final = """\
To group jets without labels, to see what such groups are made of, and to compare with other ways
to cluster the same jets. Distances are no probabilities, and nothing here is calibrated: before an
efficiency or a rate is quoted from it, measure it on jets of your own."""
_NAMES: Final = (
    "Clusters have no names. What class one is matched with was found on validation jets, and"
    " holds for a mixture of classes like theirs."
)
_NO_NAMES: Final = "Clusters have no names: they were matched with no classes."
_LIMITS: Final = (
    "Jets of another generator, cone, detector, pile-up or range of pT than those above were not"
    " looked at: how near yours are `ucluster-tune data describe DATA --fingerprint` tells.",
    "Constituents must be those that the training had: with the same threshold, and without those"
    " that it could not see, such as neutrinos.",
    "Each constituent looks at its nearest neighbours. Where two are equally far to rounding,"
    " another processor or program may take the other one, which moves a jet by a thousandth.",
)


def class_of_cluster(epoch: EpochRecord | None) -> list[str] | None:
    """Return the class that each cluster is matched with, empty for none; None without labels.

    >>> class_of_cluster(EpochRecord(1, confusion=[[1, 9], [8, 2]], class_names=["w", "t"]))
    ['t', 'w']
    """
    if epoch is None or not any(map(sum, epoch.confusion)):
        return None
    import numpy as np

    matched = match_clusters(np.array(epoch.confusion))
    names = epoch.class_names
    clusters = range(len(epoch.confusion))
    return [names[matched[k]] if k in matched else _NO_CLASS for k in clusters]


def card_of_model(kind: str, model: SavedModel, check: ExportCheck) -> str:
    """Return the card of a model of which nothing is known but what it holds."""
    return _card(
        f"Jet clusters of {model.origin}",
        [f"Jets: {model.selection}.", "Nothing else is known of its training."],
        ["Not measured here: `ucluster-tune evaluate` does on jets with labels."],
        kind,
        model,
        None,
        check,
    )


def card_of_trial(
    kind: str,
    contents: StudyContents,
    trial: TrialState,
    training: TrainingState,
    model: SavedModel,
    manifest: Manifest | None,
    check: ExportCheck,
) -> str:
    """Return the card of a training of a trial of a study.

    Args:
        kind: of the export.
        contents: of the study; its configuration names the jets of the training.
        trial: one that was trained.
        training: of it, one that has a best epoch: of the search, or of a confirmation.
        model: its best epoch.
        manifest: of the jets that it was trained on; None where they are not there any more.
        check: of the export.
    """
    return _card(
        f"Jet clusters: study {contents.record.name}, {title_of(trial, training)}",
        _trained_on(contents, training, model, manifest),
        _how_good(contents, trial, training),
        kind,
        model,
        training.best,
        check,
    )


def title_of(trial: TrialState, training: TrainingState) -> str:
    """Return what to call the network of a training."""
    again = (
        "" if training.plan.role == "search" else f" trained again with seed {training.plan.seed}"
    )
    return f"trial {trial.id}{again}"


def _trained_on(
    contents: StudyContents, training: TrainingState, model: SavedModel, manifest: Manifest | None
) -> list[str]:
    record, config = contents.record, contents.config
    plan, best = plan_of(record, training), training.best
    checksum = record.dataset_checksum if plan is None else plan.dataset_checksum
    place = uri_without_password(config.data.path)
    jets = f"{place}, checksum {checksum}"
    if manifest is not None:
        jets = (
            f"{manifest.n_jets('train'):,} training jets of {manifest.name} ({manifest.source}),"
            f" checksum {checksum}"
        )
    seed = training.plan.seed
    return [
        f"Jets: {jets}; of these {model.selection}.",
        f"Epoch {best and best.epoch} of {training.n_epochs}, seed"
        f" {record.seed if seed is None else seed}, ucluster-tune {record.code_version};"
        " `config.yaml` has all settings.",
        "No label was used in training. Epoch and hyperparameters were chosen by"
        f" {contents.metric_label} on validation jets.",
    ]


def _how_good(contents: StudyContents, trial: TrialState, training: TrainingState) -> list[str]:
    if training.plan.role != "search":
        return _how_good_again(contents, trial, training)
    if contents.record.best is trial:
        own = best_on_test(contents)
        bars = [*([own] if own else []), *yardstick_bars(contents, "test")]
        return [*search_in_words(contents), *_table(bars)]
    epoch = trial.best
    values = {} if epoch is None else epoch.as_values()
    bar = Bar.of_values(f"trial {trial.id}", values)
    if bar is None:
        score = cells.metric(contents.metric, contents.score(trial))
        return [f"{contents.metric_label}: {score} on validation jets, on which it was chosen."]
    low, high = bar.interval
    return [
        f"It puts {cells.percent(bar.accuracy)} of {bar.n_jets:,} validation jets into the cluster"
        f" that belongs to their class (95 % interval {100 * low:.1f} to {100 * high:.1f} %). Its"
        " epoch was chosen on them, which flatters; it was not measured on test jets."
    ]


def _how_good_again(
    contents: StudyContents, trial: TrialState, training: TrainingState
) -> list[str]:
    """Return how good one training of a confirmation is on test jets, beside all of its seeds."""
    plan = plan_of(contents.record, training)
    result = None if plan is None else contents.record.confirmations[plan.id].result
    if result is None or training.test is None:
        return ["It was not measured on test jets yet."]
    own = Bar.of_measured("this network", training.test)
    all_seeds = result.contender(trial.id)
    mean = all_seeds.test["clustering_accuracy"]
    batched = cells.percent(own.batched)
    return [
        f"These weights put {cells.percent(own.accuracy)} of {own.n_jets:,} test jets, which"
        " neither training nor choice had used, into the cluster that belongs to their class"
        f" (95 % interval, of the number of jets alone, {interval_in_percent(own.interval)} %)."
        f" Matched anew within each batch of {result.yardsticks.evaluation_batch_size}, as"
        f" published, it is {batched}.",
        f"They are of the one of {cells.plural(len(all_seeds.seeds), 'fresh seed')} that was best"
        f" on validation jets. Over all of them the configuration reaches"
        f" {cells.percent(mean.mean)}, 95 % interval {interval_in_percent(mean.interval)} %, of"
        " seeds and jets together: that is the number to quote of it.",
        *_table(
            [
                own,
                *(
                    Bar.of_measured(y.title, y.by_split["test"])
                    for y in result.yardsticks.yardsticks
                ),
            ]
        ),
    ]


def _table(bars: list[Bar]) -> list[str]:
    if not bars:
        return []
    rows = [
        f"| {bar.title} | {cells.percent(bar.accuracy)} |"
        f" {100 * bar.interval[0]:.1f} to {100 * bar.interval[1]:.1f} % |"
        for bar in bars
    ]
    head = ["| on the same test jets | accuracy | 95 % interval |", "|---|---|---|"]
    return ["\n".join([*head, *rows])]


def _clusters(epoch: EpochRecord | None) -> str:
    classes = class_of_cluster(epoch)
    if epoch is None or classes is None:
        return ""
    rows = []
    for cluster, (name, jets) in enumerate(zip(classes, epoch.confusion, strict=True)):
        told = ", ".join(
            f"{n:,} {c}" for n, c in zip(jets, epoch.class_names, strict=True) if n > 0
        )
        rows.append(f"| {cluster} | {name or 'none'} | {told or 'none'} |")
    head = ["| cluster | class | validation jets in it |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def _card(
    title: str,
    trained_on: Sequence[str],
    how_good: Sequence[str],
    kind: str,
    model: SavedModel,
    epoch: EpochRecord | None,
    check: ExportCheck,
) -> str:
    in_and_out = _FOLDER_IN_AND_OUT
    if kind != "folder":
        in_and_out = _IN_AND_OUT.format(
            dim=model.config.embedding_dim, clusters=model.config.n_clusters
        )
        in_and_out += "" if class_of_cluster(epoch) is None else _JET_CLASS
    in_and_out += _MORE_SIGNATURES if kind == "savedmodel" else ""
    in_and_out = "\n\n".join(part.strip() for part in (in_and_out, _clusters(epoch)))
    beyond = f"{check.n_beyond or 'none'} by more than"
    sections = {
        "What goes in and comes out": in_and_out,
        "To use it": f"`{EXAMPLE}`:\n\n```python\n{EXAMPLES[kind]}```",
        "Trained on": "\n".join(f"- {line}" for line in trained_on),
        "How good it is": "\n\n".join(how_good),
        "What it is meant for": _INTENDED,
        "Limits": "\n".join(
            f"- {line}"
            for line in (*_LIMITS, _NAMES if class_of_cluster(epoch) is not None else _NO_NAMES)
        ),
        "Checked": f"On {check.n_jets} jets ({check.jets}) against the trial's own network: of the"
        f" largest number, jets depart by {check.departure:.1g} in the median, and {beyond}"
        f" {TOLERANCE:g} (largest {check.largest:.1g}). `{EXPORT_JSON}` has the checksums of all"
        " files.",
    }
    parts = [f"# {title}", f"{_WHAT} Format: {TITLES[kind]}."]
    parts += [f"## {head}\n\n{text.strip()}" for head, text in sections.items()]
    return "\n\n".join(parts) + "\n"
