"""The numbers of `ucluster-tune evaluate`, beside those they have to be read with."""

from dataclasses import replace
from typing import Any

from ucluster_tune.config.study import ReferenceConfig
from ucluster_tune.data.jet_stream import JetSource
from ucluster_tune.data.packed import IntArray
from ucluster_tune.data.selection import SelectedLabels, Selection, select_labels
from ucluster_tune.training.assessment import PUBLISHED_BATCH, assess, assess_mass_alone
from ucluster_tune.training.saved_model import SavedModel


def evaluation_document(
    model: SavedModel,
    source: JetSource,
    training_source: JetSource | None,
    selection: Selection,
    labels: SelectedLabels,
    cluster: IntArray,
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Returns all numbers, as plain values.

    Args:
        model: that made the clusters.
        source: of the jets.
        training_source: of other jets, to choose clusters by mass on; None where there are none.
        selection: made on both.
        labels: of the selected jets.
        cluster: int64 [selected jet].
        n_resamples: of the bootstrap.
        seed: of k-means and bootstrap.
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
        },
        "jets": {
            "read": labels.n_read,
            "passed": len(labels.mass_gev),
            "outside_mass_window": labels.n_outside,
            "other_class": labels.n_other_class,
            "unlabelled": labels.n_unlabelled,
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
