"""What simple ways to cluster reach on the same jets as a study: the numbers to be beaten.

Pure data, as a study's record keeps it; `training.yardstick_measures` makes it. Loads no NumPy,
for those who only read records.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Interval = tuple[float, float]

_INTERVAL: Final = "clustering_accuracy_interval"
KMEANS_MASS: Final = "kmeans_mass"
MASS_THRESHOLDS: Final = "mass_thresholds"
KMEANS_SUBSTRUCTURE: Final = "kmeans_substructure"
PUBLISHED_WEIGHTS: Final = "published_weights"
GIVEN_MODEL: Final = "given_model"
TITLES: Final = {
    KMEANS_MASS: "k-means on the jet mass",
    MASS_THRESHOLDS: "two mass thresholds (use labels)",
    KMEANS_SUBSTRUCTURE: "k-means on mass and substructure",
    PUBLISHED_WEIGHTS: "the published weights",
    GIVEN_MODEL: "the model given",
}


@dataclass(frozen=True)
class Measured:
    """Clusters held against the classes of the jets of one split; see `EpochRecord`.

    Attributes:
        n_jets: that were measured.
        clustering_accuracy_interval, clustering_accuracy_batched_interval: 95 %, from the number
            of jets alone.
        confusion: jets by [cluster][class].
    """

    n_jets: int
    clustering_accuracy: float
    clustering_accuracy_interval: Interval
    clustering_accuracy_batched: float
    clustering_accuracy_batched_interval: Interval
    purity: float
    nmi: float
    ari: float
    confusion: list[list[int]]


@dataclass(frozen=True)
class Yardstick:
    """One way to cluster, chosen on training jets.

    Attributes:
        name: a key of `TITLES`.
        uses_labels: whether classes of training jets were used, which no clustering may.
        how: what was done, in words, with the numbers that were chosen.
        by_split: by `validation` (to compare with while a search runs) and `test` (to quote).
    """

    name: str
    uses_labels: bool
    how: str
    by_split: dict[str, Measured]

    @property
    def title(self) -> str:
        """What to call it in a table."""
        return TITLES.get(self.name, self.name.replace("_", " "))


@dataclass(frozen=True)
class Yardsticks:
    """All yardsticks on one data set.

    Attributes:
        dataset_name: as its manifest has it.
        dataset_checksum: of its files.
        class_names: of the columns of each confusion.
        evaluation_batch_size: jets in which `clustering_accuracy_batched` matches anew.
        n_chosen_on: training jets that they were chosen on.
        is_reference_data: whether these are the jets that the published accuracy is about; if not,
            that number is no yardstick here.
        yardsticks: in the order in which to show them.
        seconds: that the measure took.
    """

    dataset_name: str
    dataset_checksum: str
    class_names: list[str]
    evaluation_batch_size: int
    n_chosen_on: int
    is_reference_data: bool
    yardsticks: list[Yardstick]
    seconds: float

    def named(self, name: str) -> Yardstick | None:
        """Return a yardstick by its name."""
        return next((y for y in self.yardsticks if y.name == name), None)

    def in_words(self, split: str) -> str:
        """Return the accuracies on the jets of a split, in one line."""
        return ", ".join(
            f"{y.title} {100 * y.by_split[split].clustering_accuracy:.1f} %"
            for y in self.yardsticks
        )


def wilson_interval(fraction: float, count: int) -> Interval:
    """Return the 95 % confidence interval of a proportion (E. B. Wilson, 1927).

    >>> low, high = wilson_interval(0.8, 100)
    >>> round(low, 4), round(high, 4)
    (0.7112, 0.8666)
    """
    z = 1.959964  # as scipy.stats has it, whose import takes a second of each `status`
    centre = fraction + z * z / (2 * count)
    half = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale


def with_interval(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measure's plain values with the 95 % interval of its accuracy, where one is known.

    An interval that is there stays; without one it is that of a proportion of the jets.
    """
    accuracy = values.get("clustering_accuracy")
    n_jets = sum(map(sum, values.get("confusion") or []))
    if _INTERVAL in values or accuracy is None or not n_jets:
        return dict(values)
    return {**values, _INTERVAL: wilson_interval(accuracy, n_jets)}
