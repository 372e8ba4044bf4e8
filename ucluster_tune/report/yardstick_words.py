"""What a study's trials are beside simple ways to cluster the same jets, in words."""

from typing import Final

from rich.console import RenderableType
from rich.text import Text

from ucluster_tune.report import cells
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.training.yardsticks import KMEANS_MASS, Yardsticks

WITHOUT_LABELS: Final = (
    "The jets have no classes: there is no accuracy, and a criterion in a network's own embedding"
    " flatters it"
)


def reference_words(yardsticks: Yardsticks | None, accuracy: float, source: str) -> str:
    """Return the reference with its data set, and what it is worth on these jets."""
    text = f"reference {cells.percent(accuracy)}: {source}"
    if yardsticks is None or yardsticks.is_reference_data:
        return text
    return f"{text}; no yardstick here: {yardsticks.dataset_name} holds other jets"


def lines_of(record: StudyRecord) -> list[RenderableType]:
    """Return what stands on the study's validation jets, and a plain word where it beats us."""
    yardsticks = record.yardsticks
    if yardsticks is None:
        return []
    told = yardsticks.in_words("validation")
    return [Text(f"On the same validation jets: {told}", style="dim"), *verdict(record)]


def verdict(record: StudyRecord) -> list[RenderableType]:
    """Return a sentence where the best trial does not beat k-means on the mass."""
    mass = mass_accuracy(record)
    best = record.best.best if record.best else None
    if mass is None or best is None or record.state == "running":
        return []
    accuracy = best.value("clustering_accuracy")
    if accuracy is None or accuracy > mass:
        return []
    return [
        Text(
            f"The best trial, {cells.percent(accuracy)}, does not beat k-means on the jet mass,"
            f" {cells.percent(mass)}: this search has found nothing that the mass does not tell",
            style="yellow",
        )
    ]


def mass_accuracy(record: StudyRecord) -> float | None:
    """Return what k-means on the mass reaches on the study's validation jets."""
    yardstick = record.yardsticks and record.yardsticks.named(KMEANS_MASS)
    if yardstick:
        return yardstick.by_split["validation"].clustering_accuracy
    told = record.baselines.get(KMEANS_MASS, {})
    value = told.get("clustering_accuracy") if told.get("split") != "test" else None
    return None if value is None else float(value)


def beside_mass(record: StudyRecord, accuracy: float | None) -> str:
    """Return the distance of an accuracy on validation jets to k-means on the mass there."""
    mass = mass_accuracy(record)
    if mass is None or accuracy is None:
        return ""
    points = 100 * (accuracy - mass)
    side = "above" if points >= 0 else "below"
    return f"{abs(points):.1f} points {side} k-means on the jet mass"
