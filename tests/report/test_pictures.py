import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ucluster_tune.errors import StudyError
from ucluster_tune.report.pictures import (
    class_colors,
    cluster_colors,
    draw_confusion_matrix,
    draw_trial_pictures,
    embedding_figure,
    match_clusters,
    read_evaluation,
    save,
)
from ucluster_tune.report.projections import project


def write_evaluation(
    path: Path, dim: int = 3, n_clusters: int = 3, classes: tuple[str, ...] = ("w", "z", "t")
) -> Path:
    """Jets around one centre a class; a jet belongs to the nearest of the clusters' centroids."""
    rng = np.random.default_rng(1)
    jet_class = rng.integers(0, len(classes), 300)
    centers = rng.uniform(0, 5, size=(max(n_clusters, len(classes)), dim))
    embedding = centers[jet_class] + rng.normal(scale=0.3, size=(300, dim))
    centroids = centers[::-1][:n_clusters]
    cluster = ((embedding[:, None] - centroids) ** 2).sum(-1).argmin(1)
    confusion = np.zeros((n_clusters, len(classes)), np.int64)
    np.add.at(confusion, (cluster, jet_class), 1)
    np.savez(
        path, embedding=embedding.astype(np.float32), jet_class=jet_class, cluster=cluster,
        mass_gev=rng.uniform(60, 180, 300).astype(np.float32),
        centroids=centroids.astype(np.float32), confusion=confusion,
        class_names=np.array(classes),
    )  # fmt: skip
    return path


def words(picture: Path) -> list[str]:
    """The texts of an SVG in drawing order; Matplotlib leaves each as a comment."""
    return re.findall(r"<!-- (.*?) -->", picture.read_text(), flags=re.DOTALL)


def test_a_class_and_its_cluster_have_one_colour_in_every_picture() -> None:
    w, z, top = class_colors(("w", "z", "t"))
    assert class_colors(("g", "q", "w", "z", "t"))[2:] == (w, z, top)
    confusion = np.array([[0, 9], [1, 0], [9, 0]])  # a cluster more than classes
    first, other, last = cluster_colors(confusion, ("w", "t"))
    assert (first, last) == (top, w)
    assert other not in {w, top}
    assert (
        len(set(cluster_colors(np.eye(12, 3, dtype=int), ("w", "z", "t")))) == 4
    )  # the others alike


def test_matched_clusters_stand_on_the_diagonal_with_percentages_and_counts(
    tmp_path: Path,
) -> None:
    confusion = np.array([[10, 90, 0], [80, 30, 0], [10, 0, 2000]])
    picture = tmp_path / "matrix.svg"
    draw_confusion_matrix(confusion, ("w", "z", "t"), "test jets", picture)
    text = words(picture)

    assert text[:3] == ["1", "0", "2"]  # clusters in the order of W, Z, top
    cells = [word for word in text if re.fullmatch(r"[\d.]+ %", word) and "." in word]
    assert cells == ["80.0 %", "10.0 %", "10.0 %", "25.0 %", "75.0 %", "0.0 %",
                     "0.0 %", "0.0 %", "100.0 %"]  # fmt: skip
    assert {"2,000", "80", "90"} <= set(text)
    assert f"{100 * 2170 / 2220:.1f} %" == "97.7 %"
    assert any("clustering accuracy 97.7 %" in word for word in text)
    assert any("W" in word for word in text)


def test_matching_is_one_to_one_when_clusters_and_classes_differ_in_number() -> None:
    assert match_clusters(np.array([[5, 4, 0], [4, 0, 0]])) == {0: 1, 1: 0}
    assert match_clusters(np.array([[5, 0], [4, 0], [0, 3]])) == {0: 0, 2: 1}


@pytest.mark.parametrize(
    ("dim", "n_clusters", "classes"),
    [
        (1, 2, ("w", "z", "t")),
        (2, 6, ("w", "z", "t")),
        (3, 3, ("w", "z", "t")),
        (8, 40, ("g", "q", "w", "z", "t")),
    ],
)
def test_every_shape_of_model_gets_both_pictures(
    tmp_path: Path, dim: int, n_clusters: int, classes: tuple[str, ...]
) -> None:
    from matplotlib.image import imread

    evaluation = write_evaluation(tmp_path / "epoch-0007.npz", dim, n_clusters, classes)
    pictures = draw_trial_pictures(evaluation, tmp_path / "pictures")
    assert [path.name for path in pictures] == ["confusion_matrix.png", "embedding.png"]
    assert sorted((tmp_path / "pictures").iterdir()) == pictures  # no temporary file is left
    for path in pictures:
        assert imread(path)[..., :3].std() > 0.05


def test_embedding_names_the_epoch_the_axes_and_each_clusters_class(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path / "epoch-0012.npz")
    save(embedding_figure(read_evaluation(evaluation)), tmp_path / "embedding.svg")
    text = words(tmp_path / "embedding.svg")
    assert "Embedding of 300 validation jets, epoch 12" in text
    assert {"embedding 1", "embedding 2", "embedding 3", "top", "centroid"} <= set(text)
    matched = match_clusters(read_evaluation(evaluation).confusion)
    names = ("W", "Z", "top")
    assert {f"{cluster} ({names[c]})" for cluster, c in matched.items()} <= set(text)


def test_principal_components_keep_distances_of_a_plane_in_many_dimensions() -> None:
    rng = np.random.default_rng(2)
    plane = rng.normal(size=(50, 3))
    turned = plane @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:3]
    projection = project(turned, turned[:2], np.ones(50))
    expected = np.linalg.norm(plane[0] - plane[1])
    assert np.linalg.norm(projection.points[0] - projection.points[1]) == pytest.approx(expected)
    assert np.allclose(projection.points[:2], projection.centroids)


def test_a_damaged_evaluation_file_is_named(tmp_path: Path) -> None:
    whole = write_evaluation(tmp_path / "epoch-0001.npz")
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(StudyError, match=r"epoch-0001\.npz cannot be read"):
        draw_trial_pictures(whole, tmp_path)
    with pytest.raises(StudyError, match=r"epoch-0002\.npz cannot be read"):
        draw_trial_pictures(tmp_path / "epoch-0002.npz", tmp_path)


def test_importing_pictures_loads_neither_matplotlib_nor_scipy() -> None:
    code = (
        "import sys, ucluster_tune.report.pictures;"
        "assert not {'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
