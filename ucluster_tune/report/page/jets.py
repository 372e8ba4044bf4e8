"""What the best trial makes of validation jets: confusion, embedding, mass, efficiency, purity."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.report import cells
from ucluster_tune.report.page.contents import StudyContents
from ucluster_tune.report.page.parts import Section, Table, absent
from ucluster_tune.report.page.style import DASHES, Picture, in_percent, new_figure
from ucluster_tune.report.pictures import (
    KeptEvaluation,
    class_colors,
    class_label,
    cluster_colors,
    confusion_figure,
    embedding_figure,
    mark_of,
    match_clusters,
)
from ucluster_tune.training.yardsticks import wilson_interval

_N_MASS_BINS: Final = 48
_N_BINS: Final = 8
_LEAST_IN_BIN: Final = 5  # with fewer jets an interval says nothing

Floats = npt.NDArray[np.floating[Any]]


def confusion_section(contents: StudyContents) -> Section:
    """Return how the classes spread over the clusters."""
    title, evaluation = "Classes and clusters", contents.evaluation
    if evaluation is None:
        return absent(title, contents.no_evaluation)
    figure = confusion_figure(evaluation.confusion, evaluation.class_names, evaluation.title)
    n_jets = int(evaluation.confusion.sum())
    caption = f"How the jets of each class spread over the clusters, {n_jets:,} validation jets."
    matched = {c: cluster for cluster, c in match_clusters(evaluation.confusion).items()}
    rows = []
    for index, name in enumerate(evaluation.class_names):
        of_class, cluster = int(evaluation.confusion[:, index].sum()), matched.get(index)
        both = 0 if cluster is None else int(evaluation.confusion[cluster, index])
        in_cluster = 0 if cluster is None else int(evaluation.confusion[cluster].sum())
        rows.append(
            (
                class_label(name),
                cells.NOTHING if cluster is None else str(cluster),
                f"{of_class:,}",
                cells.percent(both / of_class if of_class else None),
                cells.percent(both / in_cluster if in_cluster else None),
            )
        )
    columns = ("class", "cluster", "jets", "efficiency", "purity")
    return Section(
        title,
        [
            "Efficiency: share of a class's jets in the cluster that is matched with it; purity:"
            " share of that cluster's jets that are of the class."
        ],
        [Table("classes", columns, rows)],
        [Picture("confusion", figure, caption)],
    )


def embedding_section(contents: StudyContents) -> Section:
    """Return the embedding of some jets, by class and by cluster."""
    title, evaluation = "Embedding", contents.evaluation
    if evaluation is None:
        return absent(title, contents.no_evaluation)
    caption = (
        f"{len(evaluation.embedding):,} validation jets in the space where they are clustered"
        + (": by true class above, by cluster below." if evaluation.class_names else ".")
    )
    return Section(
        title, pictures=[Picture("embedding", embedding_figure(evaluation), caption, is_wide=True)]
    )


def mass_section(contents: StudyContents) -> Section:
    """Return the mass spectrum of each cluster, and of each class."""
    title, evaluation = "Mass spectrum by cluster", contents.evaluation
    if evaluation is None:
        return absent(title, contents.no_evaluation)
    names = [class_label(name) for name in evaluation.class_names]
    matched = match_clusters(evaluation.confusion)
    clusters = sorted(range(len(evaluation.centroids)), key=lambda k: (matched.get(k, 99), k))
    colors = cluster_colors(evaluation.confusion, evaluation.class_names)
    of_cluster = [
        (
            f"cluster {k}" + (f" ({names[matched[k]]})" if k in matched else ""),
            evaluation.cluster == k,
            colors[k],
        )
        for k in clusters
    ]
    of_class = [
        (name, evaluation.jet_class == index, color)
        for index, (name, color) in enumerate(
            zip(names, class_colors(evaluation.class_names), strict=True)
        )
    ]
    n_jets = len(evaluation.mass_gev)
    pictures = [
        _spectra(
            evaluation,
            of_cluster,
            "mass_by_cluster",
            f"Jet mass of {n_jets:,} validation jets, by cluster.",
        ),
    ]
    if of_class:
        pictures.append(
            _spectra(evaluation, of_class, "mass_by_class", "The same jets by true class.")
        )
    return Section(title, pictures=pictures)


def _spectra(
    evaluation: KeptEvaluation, groups: list[tuple[str, Any, str]], name: str, caption: str
) -> Picture:
    figure, (axes,) = new_figure()
    mass = evaluation.mass_gev
    edges = np.linspace(float(mass.min()), float(mass.max()) or 1.0, _N_MASS_BINS + 1)
    for number, (label, chosen, color) in enumerate(groups):
        counts, _ = np.histogram(mass[chosen], edges)
        style = "-" if number == 0 else DASHES[(number - 1) % len(DASHES)]
        axes.stairs(counts, edges, color=color, linestyle=style, linewidth=1.5, label=label)
    axes.set_xlabel("jet mass (GeV)")
    axes.set_ylabel(f"jets in {edges[1] - edges[0]:.1f} GeV")
    axes.margins(x=0)
    axes.set_ylim(bottom=0)
    axes.figure.legend(loc="outside lower center", ncols=3)
    return Picture(name, figure, caption)


def efficiency_section(contents: StudyContents) -> Section:
    """Return efficiency and purity of each class against the jet's mass and pt."""
    title, evaluation = "Efficiency and purity by class", contents.evaluation
    if evaluation is None:
        return absent(title, contents.no_evaluation)
    pictures, notes = [], []
    for key, label, values in (
        ("mass", "jet mass (GeV)", evaluation.mass_gev),
        ("pt", "jet pt (GeV)", evaluation.pt_gev),
    ):
        if values is None:
            notes.append("Not against pt: the trial's workers were older and did not keep it.")
            continue
        for quantity in ("efficiency", "purity"):
            pictures.append(_against(evaluation, quantity, key, label, values))
    notes.append(
        f"Of {len(evaluation.mass_gev):,} validation jets, in bins with equally many of them;"
        " bars are 95 % intervals of their number, and bins with fewer than"
        f" {_LEAST_IN_BIN} jets to count are left out."
    )
    return Section(title, pictures=pictures, notes=notes)


def _against(
    evaluation: KeptEvaluation, quantity: str, key: str, label: str, values: Floats
) -> Picture:
    figure, (axes,) = new_figure(width=4.2, height=3.0)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _N_BINS + 1)))
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(0, len(edges) - 2))
    matched = {c: cluster for cluster, c in match_clusters(evaluation.confusion).items()}
    colors = class_colors(evaluation.class_names)
    for index, name in enumerate(evaluation.class_names):
        if index not in matched:
            continue
        in_class = evaluation.jet_class == index
        in_cluster = evaluation.cluster == matched[index]
        base = in_class if quantity == "efficiency" else in_cluster
        points = []
        for number in range(len(edges) - 1):
            n = int((base & (bins == number)).sum())
            if n < _LEAST_IN_BIN:
                continue
            share = int((in_class & in_cluster & (bins == number)).sum()) / n
            low, high = wilson_interval(share, n)
            middle = float(np.median(values[bins == number]))
            points.append((middle, share, max(0.0, share - low), max(0.0, high - share)))
        if points:
            x, y, below, above = zip(*points, strict=True)
            axes.errorbar(
                x, y, yerr=[below, above], color=colors[index], fmt=mark_of(colors[index]),
                linestyle="-", linewidth=0.8, markersize=4, capsize=2, label=class_label(name),
            )  # fmt: skip
    in_percent(axes.yaxis)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(label)
    axes.set_ylabel(quantity)
    if axes.containers:  # some class has jets enough in a bin
        axes.figure.legend(loc="outside lower center", ncols=4)
    caption = f"{quantity.capitalize()} of each class against the {label.partition(' (')[0]}."
    return Picture(f"{quantity}_by_{key}", figure, caption)
