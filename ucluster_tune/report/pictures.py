"""Pictures of one epoch of a trial: its confusion matrix and its embedding of validation jets.

Reads the evaluation file that the trial wrote; knows nothing of studies, MLflow or TensorFlow.
Draws through Matplotlib's objects with the Agg backend, so that no global state and no display
is needed.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ucluster_tune.errors import StudyError
from ucluster_tune.report.projections import Projection, project
from ucluster_tune.storage.whole_files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

CLASS_LABELS = {"g": "gluon", "q": "quark", "w": "W", "z": "Z", "t": "top"}
# Okabe and Ito's colours, told apart with every common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
OTHERS_COLOR = "#BBBBBB"
MARKS = ("o", "^", "s", "D", "v", "P", "X", "*")  # told apart without colours
DARK = "#111111"  # on a light cell, also where a page turns black into white
DOTS_PER_INCH = 150
_N_LAYERS = 4
N_LABELLED_CLUSTERS = 12  # with more, numbers in the cells cannot be read


@dataclass(frozen=True)
class KeptEvaluation:
    """What a trial keeps of one epoch on validation jets.

    Attributes:
        epoch: its number, None where the file's name does not tell it.
        embedding: float32 [jet, dim].
        jet_class: int64 [jet], indices into class_names.
        cluster: int64 [jet].
        mass_gev: float32 [jet].
        pt_gev: float32 [jet]; None in a file that does not tell it.
        centroids: float32 [cluster, dim].
        confusion: int64 [cluster, class], of all validation jets; `embedding` may hold fewer.
        class_names: such as ("w", "z", "t").
    """

    epoch: int | None
    embedding: Floats
    jet_class: Ints
    cluster: Ints
    mass_gev: Floats
    pt_gev: Floats | None
    centroids: Floats
    confusion: Ints
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        """What its pictures are of."""
        return "validation jets" + (f", epoch {self.epoch}" if self.epoch else "")


def class_colors(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a colour for each class, the same in all pictures whatever other classes are there.

    >>> class_colors(["w", "t"]) == class_colors(["g", "w", "t"])[1:]
    True
    """
    known = dict(zip(CLASS_LABELS, PALETTE, strict=False))
    return tuple(known.get(name, OTHERS_COLOR) for name in class_names)


def mark_of(color: str) -> str:
    """Return the mark of a colour: the same for a class and for its cluster."""
    return MARKS[PALETTE.index(color)] if color in PALETTE else "."


def cluster_colors(confusion: Ints, class_names: Sequence[str]) -> list[str]:
    """Return a colour for each cluster: that of the class with which it is matched.

    The others have colours that no class has, or, where these are not enough, all the same one.

    Args:
        confusion: integers [cluster, class].
        class_names: of its columns.
    """
    of_class, matched = class_colors(class_names), match_clusters(confusion)
    others = [cluster for cluster in range(len(confusion)) if cluster not in matched]
    n_of_classes = len(CLASS_LABELS) if class_names else 0
    unused = dict.fromkeys((*PALETTE[n_of_classes:], *PALETTE))  # those of no class first
    spare = [color for color in unused if color not in of_class]
    of_other = dict(zip(others, spare, strict=False)) if len(others) <= len(spare) else {}
    return [
        of_class[matched[k]] if k in matched else of_other.get(k, OTHERS_COLOR)
        for k in range(len(confusion))
    ]


def read_evaluation(path: Path) -> KeptEvaluation:
    """Return the evaluation file; StudyError when it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            epoch = re.search(r"epoch-(\d+)", path.stem)
            return KeptEvaluation(
                epoch=int(epoch.group(1)) if epoch else None,
                embedding=arrays["embedding"],
                jet_class=arrays["jet_class"],
                cluster=arrays["cluster"],
                mass_gev=arrays["mass_gev"],
                pt_gev=arrays.get("pt_gev"),
                centroids=arrays["centroids"],
                confusion=arrays["confusion"],
                class_names=tuple(str(name) for name in arrays["class_names"]),
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"evaluation file {path} cannot be read: {error};"
            " it is written anew when the trial runs its epoch again"
        ) from error


def match_clusters(confusion: Ints) -> dict[int, int]:
    """Return the class of each matched cluster: one to one, with the most jets on matched pairs.

    With more clusters than classes, or fewer, the ones left over are not in it.

    Args:
        confusion: integers [cluster, class].

    >>> match_clusters(np.array([[1, 9], [8, 2]]))
    {0: 1, 1: 0}
    """
    from scipy.optimize import linear_sum_assignment

    clusters, classes = linear_sum_assignment(confusion, maximize=True)
    return {int(cluster): int(c) for cluster, c in zip(clusters, classes, strict=True)}


def draw_trial_pictures(evaluation_npz: Path, folder: Path) -> list[Path]:
    """Write confusion_matrix.png, of jets with classes, and embedding.png; return their paths."""
    evaluation = read_evaluation(evaluation_npz)
    folder.mkdir(parents=True, exist_ok=True)
    matrix, embedding = folder / "confusion_matrix.png", folder / "embedding.png"
    save(embedding_figure(evaluation), embedding)
    if not evaluation.class_names:
        return [embedding]
    draw_confusion_matrix(evaluation.confusion, evaluation.class_names, evaluation.title, matrix)
    return [matrix, embedding]


def draw_confusion_matrix(
    confusion: Ints, class_names: Sequence[str], title: str, path: Path
) -> None:
    """Write `confusion_figure` to a file, whose ending says the format, such as .png or .pdf."""
    save(confusion_figure(confusion, class_names, title), path)


def confusion_figure(confusion: Ints, class_names: Sequence[str], title: str) -> "Figure":
    """Return a picture of how each class's jets spread over the clusters.

    One row a class, one column a cluster; matched pairs are framed on the diagonal, so that the
    sum over the frames by all jets is the clustering accuracy in the title. Clusters and classes
    left without a partner come last.

    Args:
        confusion: integers [cluster, class].
        class_names: of the columns of `confusion`.
        title: such as "validation jets, epoch 7".
    """
    from matplotlib.figure import Figure

    n_clusters, n_classes = confusion.shape
    matched = match_clusters(confusion)
    cluster_of = {jet_class: cluster for cluster, jet_class in matched.items()}
    classes = sorted(range(n_classes), key=lambda c: (c not in cluster_of, c))
    clusters = [cluster_of[c] for c in classes if c in cluster_of]
    clusters += [cluster for cluster in range(n_clusters) if cluster not in matched]

    counts = confusion.T[np.ix_(classes, clusters)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n_matched = sum(int(confusion[cluster, c]) for cluster, c in matched.items())
    accuracy = n_matched / max(int(confusion.sum()), 1)

    n_columns = min(n_clusters, N_LABELLED_CLUSTERS)
    figure = Figure(figsize=(2.6 + 0.95 * n_columns, 1.7 + 0.85 * n_classes), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if n_clusters <= N_LABELLED_CLUSTERS:
        _write_cells(axes, counts, share)
        axes.set_xticks(range(n_clusters), [str(cluster) for cluster in clusters])
    else:
        step = -(-n_clusters // N_LABELLED_CLUSTERS)
        axes.set_xticks(range(0, n_clusters, step), [str(c) for c in clusters[::step]])
    for position in range(len(matched)):
        _frame_cell(axes, position)
    jets = [int(confusion[:, c].sum()) for c in classes]
    names = [class_label(class_names[c]) for c in classes]
    labels = [f"{name}\n{n:,} jets" for name, n in zip(names, jets, strict=True)]
    axes.set_yticks(range(n_classes), labels)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("cluster")
    axes.set_ylabel("true class")
    axes.set_title(
        f"{title[:1].upper()}{title[1:]}\nclustering accuracy {100 * accuracy:.1f} %", fontsize=11
    )
    bar = figure.colorbar(image, ax=axes, label="share of the class's jets", fraction=0.08)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    bar.outline.set_visible(False)
    return figure


def embedding_figure(evaluation: KeptEvaluation) -> "Figure":
    """Return a picture of the embedding: true classes above, clusters below, centroids marked.

    Three planes of a 3-dimensional embedding, the one plane of a 2-dimensional one; above three
    dimensions those of the first three principal components; one dimension is drawn against the
    jet's mass. A cluster has the colour and mark of the class it is matched with. Of jets without
    classes there are the clusters alone.
    """
    from matplotlib.figure import Figure

    projection = project(evaluation.embedding, evaluation.centroids, evaluation.mass_gev)
    groups = _groups(evaluation)
    n_planes = len(projection.planes)
    height = 6.0 if len(groups) == 2 else 3.4
    figure = Figure(figsize=(1.9 + 3.0 * n_planes, height), layout="constrained")
    rows = figure.subplots(len(groups), n_planes, squeeze=False, sharex="col", sharey="col")
    for row, group in zip(rows, groups, strict=True):
        _scatter_row(row, projection, group)
        for axes, (_, second) in zip(row, projection.planes, strict=True):
            axes.set_ylabel(projection.labels[second])
    for axes, (first, _) in zip(rows[-1], projection.planes, strict=True):
        axes.set_xlabel(projection.labels[first])
    n_jets = len(evaluation.embedding)
    figure.suptitle(f"Embedding of {n_jets:,} {evaluation.title}", fontsize=12)
    return figure


def _write_cells(axes: Any, counts: Ints, share: Floats) -> None:
    for (row, column), part in np.ndenumerate(share):
        color = "white" if part > 0.55 else DARK
        text = {"ha": "center", "color": color}
        axes.text(column, row, f"{100 * part:.1f} %", va="bottom", fontsize=11, **text)
        count = f"{counts[row, column]:,}"
        axes.text(column, row + 0.08, count, va="top", fontsize=8, **text)


def _frame_cell(axes: Any, position: int) -> None:
    from matplotlib.patches import Rectangle

    corner = (position - 0.485, position - 0.485)
    axes.add_patch(Rectangle(corner, 0.97, 0.97, fill=False, edgecolor=PALETTE[5], linewidth=2))


@dataclass(frozen=True)
class _Groups:
    """Jets grouped by class or by cluster: `of_jet` int [jet] indexes `names` and `colors`."""

    title: str
    of_jet: Ints
    names: tuple[str, ...]
    colors: tuple[str, ...]

    @property
    def marks(self) -> list[str]:
        """One a group; the same for a class and for the cluster of the same colour."""
        return [mark_of(color) for color in self.colors]


def _groups(evaluation: KeptEvaluation) -> tuple[_Groups, ...]:
    """Return jets by class, where they have one, and by cluster, in its class's colour.

    Without colours enough for the other clusters, they are one grey group.
    """
    n_clusters = len(evaluation.confusion)
    labels = [class_label(name) for name in evaluation.class_names]
    matched = match_clusters(evaluation.confusion)
    names = [f"{k} ({labels[matched[k]]})" if k in matched else f"{k}" for k in range(n_clusters)]
    others = [cluster for cluster in range(n_clusters) if cluster not in matched]
    color_of = cluster_colors(evaluation.confusion, evaluation.class_names)
    cluster = evaluation.cluster
    if len(others) > 1 and all(color_of[k] == OTHERS_COLOR for k in others):
        kept = [*sorted(matched), *others]  # the others after the matched ones, then as one
        position = np.minimum(np.argsort(kept), len(matched))
        cluster = position[cluster]
        names = [*(names[k] for k in sorted(matched)), f"{len(others)} others"]
        colors = (*(color_of[k] for k in sorted(matched)), OTHERS_COLOR)
    else:
        colors = tuple(color_of)
    if not labels:
        return (_Groups("cluster", cluster, tuple(names), colors),)
    return (
        _Groups(
            "true class",
            evaluation.jet_class,
            tuple(labels),
            class_colors(evaluation.class_names),
        ),
        _Groups("cluster (class)", cluster, tuple(names), colors),
    )


def _scatter_row(row: Sequence[Any], projection: Projection, groups: _Groups) -> None:
    order = np.random.default_rng(0).permutation(len(groups.of_jet))
    points, centers = projection.points, projection.centroids
    cross = {"marker": "X", "color": "black", "edgecolors": "white", "zorder": 3}
    size = 90 if len(centers) <= N_LABELLED_CLUSTERS else 40
    for axes, (first, second) in zip(row, projection.planes, strict=True):
        for some in np.array_split(order, _N_LAYERS):  # no group hides another
            for group, (color, mark) in enumerate(zip(groups.colors, groups.marks, strict=True)):
                jets = some[groups.of_jet[some] == group]
                axes.scatter(
                    points[jets, first], points[jets, second], color=color, marker=mark, s=7,
                    alpha=0.6, linewidths=0, rasterized=True,
                )  # fmt: skip
        axes.scatter(centers[:, first], centers[:, second], s=size, linewidths=1.2, **cross)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    last = row[-1]
    for name, color, mark in zip(groups.names, groups.colors, groups.marks, strict=True):
        last.scatter([], [], color=color, marker=mark, s=30, label=name)
    last.scatter([], [], s=60, label="centroid", **cross)
    last.legend(
        title=groups.title, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False,
        alignment="left",
    )  # fmt: skip


def class_label(class_name: str) -> str:
    """Return a class as it is written in pictures and tables.

    >>> class_label("t")
    'top'
    """
    return CLASS_LABELS.get(class_name, class_name)


def save(figure: "Figure", path: Path) -> None:
    """Write a picture, in the format that the ending of the path says."""
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
