"""The numbers of `ucluster-tune evaluate`, beside those they have to be read with."""

from dataclasses import replace
from typing import Any

from ucluster_tune.config.study import ReferenceConfig
from ucluster_tune.data.format.features import CLASS_NAMES
from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.data.format.schema import JET_CLASS
from ucluster_tune.data.reading.jet_stream import JetSource
from ucluster_tune.data.reading.selection import SelectedLabels, Selection, select_labels
from ucluster_tune.errors import DataError
from ucluster_tune.models.saved import SavedModel
from ucluster_tune.report.unknown_classes import unknown_classes
from ucluster_tune.training.assessment import PUBLISHED_BATCH, assess, assess_mass_alone


def evaluation_document(
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
        "model": assess(cluster, labels, n_clusters, n_resamples, seed),
        **assess_mass_alone(labels, training, n_clusters, n_resamples, seed),
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
            "unknown_classes": unknown_classes(source) if labels.n_unlabelled else [],
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


def measurable_labels(source: JetSource, selection: Selection) -> SelectedLabels:
    """Return masses and classes of the jets that pass.

    Raises:
        DataError: none passes; names the classes that are not known.
    """
    try:
        return select_labels(source, selection)
    except DataError as error:
        unknown = unknown_classes(source)
        if not unknown:
            raise
        names = ", ".join(map(repr, unknown))
        raise DataError(
            f"{error}\nUnknown in column {JET_CLASS}: {names}; the classes are"
            f" {', '.join(CLASS_NAMES)}"
        ) from error


def _chosen_on(training: SelectedLabels | None) -> str:
    if training is None:
        return "chosen on each half of these jets and measured on the other half"
    return f"chosen on {len(training.mass_gev):,} training jets"
