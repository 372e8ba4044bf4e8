"""How well clusters agree with classes, as `evaluate` tells it: plain values and their view."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.config.study import ReferenceConfig
from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.data.reading.jet_source import JetSource
from ucluster_tune.data.reading.labels import SelectedLabels, select_labels
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.models.saved import SavedModel
from ucluster_tune.report import cells
from ucluster_tune.report.pictures import CLASS_LABELS
from ucluster_tune.training.agreement import PUBLISHED_BATCH, agreement_by_mass, agreement_of

_NAMES = {
    "model": "model",
    "mass_thresholds": "two mass thresholds",
    "kmeans_mass": "k-means on jet mass",
}


def agreement_document(
    model: SavedModel,
    source: JetSource,
    training_source: JetSource | None,
    selection: Selection,
    labels: SelectedLabels,
    cluster: IntArray,
    n_resamples: int,
    seed: int,
    *,
    window_from: str,
    n_without_constituents: int,
) -> dict[str, Any]:
    """Return all numbers, as plain values.

    Args:
        model: that made the clusters.
        source: of the jets.
        training_source: of other jets, to choose clusters by mass on; None where there are none.
        selection: made on both.
        labels: of the selected jets.
        cluster: int64 [selected jet].
        n_resamples: of the bootstrap.
        seed: of k-means and bootstrap.
        window_from: where the window of masses comes from, in words.
        n_without_constituents: selected jets of which nothing but padding was seen.
    """
    n_clusters = model.config.n_clusters
    training = None
    if training_source is not None:
        training = select_labels(training_source, replace(selection, classes=labels.class_names))
    results = {
        "model": agreement_of(cluster, labels, n_clusters, n_resamples, seed),
        **agreement_by_mass(labels, training, n_clusters, n_resamples, seed),
    }
    reference = ReferenceConfig()
    counts = {
        name: int((labels.jet_class == index).sum())
        for index, name in enumerate(labels.class_names)
    }
    return {
        "model": model.origin,
        "data": source.description,
        "selection": {
            "mass_min_gev": selection.mass_min_gev,
            "mass_max_gev": selection.mass_max_gev,
            "classes": list(labels.class_names),
            "text": str(selection),
            "window_from": window_from,
        },
        "jets": {
            "read": labels.n_read,
            "passed": len(labels.mass_gev),
            "outside_mass_window": labels.n_outside,
            "other_class": labels.n_other_class,
            "unlabelled": labels.n_unlabelled,
            "unknown_classes": list(labels.unknown_classes),
            "without_constituents": n_without_constituents,
            "by_class": counts,
        },
        "n_clusters": n_clusters,
        "published_batch": PUBLISHED_BATCH,
        "bootstrap": {"resamples": n_resamples, "seed": seed, "level": 0.95},
        "chosen_on": _chosen_on(training),
        "results": {name: found.as_dict() for name, found in results.items()},
        "reference": {"accuracy": reference.accuracy, "source": reference.source},
    }


def _chosen_on(training: SelectedLabels | None) -> str:
    if training is None:
        return "chosen on each half of these jets and measured on the other half"
    return f"chosen on {len(training.mass_gev):,} training jets"


def agreement_view(document: Mapping[str, Any]) -> RenderableType:
    """Return the numbers of `evaluate --json` as people read them."""
    jets = document["jets"]
    by_class = ", ".join(f"{_label(name)} {n:,}" for name, n in jets["by_class"].items())
    left_out = [
        f"{jets[key]:,} {words}"
        for key, words in (
            ("outside_mass_window", "outside the window"),
            ("other_class", "of other classes"),
            ("unlabelled", _without_class(jets["unknown_classes"])),
        )
        if jets[key]
    ]
    parts: list[RenderableType] = [
        Text(f"Model  {document['model']}"),
        Text(f"Data   {document['data']}"),
        Text(
            f"Jets   {jets['passed']:,} of {jets['read']:,} pass {document['selection']['text']}"
            + (f"; {', '.join(left_out)}" if left_out else "")
        ),
        Text(f"       window {document['selection']['window_from']}"),
        Text(f"       {by_class}"),
        *(Text(line, style="yellow") for line in _warnings(jets)),
        Text(),
        _results_table(document),
        Text(),
        _class_table(document["results"]["model"]),
        Text(),
        *(Text(line, style="dim") for line in _notes(document)),
    ]
    return Group(*parts)


def _without_class(unknown: list[str]) -> str:
    names = ", ".join(map(repr, unknown))
    return f"without class or of an unknown one ({names})" if unknown else "without class"


def _warnings(jets: Mapping[str, Any]) -> list[str]:
    n_jets = jets["without_constituents"]
    return [
        f"warning: {n_jets:,} of the {jets['passed']:,} have no constituents, so that the network"
        " sees nothing of them; `data convert` leaves such jets out"
    ] * (n_jets > 0)


def _results_table(document: Mapping[str, Any]) -> RenderableType:
    columns = ("accuracy\n95 % interval", "in batches\n95 % interval", "purity", "NMI", "ARI")
    table = cells.plain_table("", *columns, left=("",))
    for key, name in _NAMES.items():
        found = document["results"][key]
        table.add_row(
            name,
            *(
                f"{cells.percent(found[metric])}\n{_interval(found[f'{metric}_interval'])}"
                for metric in ("clustering_accuracy", "clustering_accuracy_batched")
            ),
            cells.percent(found["purity"]),
            f"{found['nmi']:.3f}",
            f"{found['ari']:.3f}",
        )
    reference = document["reference"]
    table.add_row("published, other jets", "", cells.percent(reference["accuracy"]), "", "", "")
    return table


def _class_table(found: Mapping[str, Any]) -> RenderableType:
    table = cells.plain_table("class", "jets", "cluster", "efficiency", "purity", left=("class",))
    for name, quality in found["by_class"].items():
        table.add_row(
            _label(name),
            f"{quality['n_jets']:,}",
            cells.NOTHING if quality["cluster"] is None else str(quality["cluster"]),
            cells.percent(quality["efficiency"]),
            cells.percent(quality["purity"]),
        )
    return table


def _notes(document: Mapping[str, Any]) -> list[str]:
    reference = document["reference"]
    thresholds = document["results"]["mass_thresholds"]["thresholds_gev"]
    n_classes, n_clusters = len(document["selection"]["classes"]), document["n_clusters"]
    too_many = [
        f"{n_classes} classes, but {n_clusters} clusters: some classes have none; choose classes"
        " with --classes"
    ] * (n_classes > n_clusters)
    cuts = " or ".join(" and ".join(f"{cut:.1f}" for cut in fold) for fold in thresholds)
    return [
        *too_many,
        "accuracy: clusters matched to classes once, one to one, over all jets; in batches: anew"
        f" in each batch of {document['published_batch']}, as published, which flatters",
        f"thresholds at {cuts} GeV; they and k-means on the mass are {document['chosen_on']}",
        f"published {cells.percent(reference['accuracy'])}: {reference['source']};"
        " only the number in batches can be compared with it, and on those jets alone",
    ]


def _interval(interval: list[float]) -> str:
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _label(name: str) -> str:
    return CLASS_LABELS.get(name, name)
