"""What makes one trial better than another: a metric, and others that are looked at beside it."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ucluster_tune.config.section import Rule, Section

Metric = Literal[
    "clustering_accuracy",
    "clustering_accuracy_batched",
    "purity",
    "nmi",
    "ari",
    "focal_loss",
    "clustering_loss",
    "total_loss",
    "silhouette",
    "stability",
]
Direction = Literal["maximize", "minimize"]
OtherMetric = Literal[Metric, "seconds"]
NEEDING_LABELS = ("clustering_accuracy", "clustering_accuracy_batched", "purity", "nmi", "ari")
LOSSES = ("focal_loss", "clustering_loss", "total_loss")


def direction_of(metric: str) -> Direction:
    """Return whether more or less of a metric is better.

    >>> direction_of("ari"), direction_of("seconds")
    ('maximize', 'minimize')
    """
    return "minimize" if metric in (*LOSSES, "seconds") else "maximize"


def _direction(metric: str, direction: str) -> str | None:
    expected = direction_of(metric)
    return None if direction == expected else f"must be {expected} for {metric}, got {direction}"


def _others_differ(metric: str, others: Sequence[str]) -> str | None:
    if len({metric, *others}) == 1 + len(others):
        return None
    return f"must repeat neither each other nor objective.metric, {metric}, got {list(others)}"


class ObjectiveConfig(Section):
    """What makes one trial better than another, measured on validation jets."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("direction", ("metric", "direction"), _direction),
        Rule("others", ("metric", "others"), _others_differ),
    )

    metric: Metric = "clustering_accuracy"
    direction: Direction = "maximize"
    others: tuple[OtherMetric, ...] = Field(
        (),
        strict=False,
        description="further metrics, each in its own direction: what trials are compared by too",
    )
    seeds_per_trial: int = Field(
        1, ge=1, le=100, description="trainings of a trial, whose mean is what it is worth"
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, that which decides what is best first."""
        return (self.metric, *self.others)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of each of them."""
        return (self.direction, *map(direction_of, self.others))

    @property
    def needing_labels(self) -> tuple[str, ...]:
        """Those of its metrics that jets without classes do not have."""
        return tuple(name for name in self.metrics if name in NEEDING_LABELS)

    def worth(self, value: float) -> float:
        """Return a value of the metric with the sign that makes more of it better.

        >>> ObjectiveConfig(metric="focal_loss", direction="minimize").worth(2.0)
        -2.0
        """
        return value if self.direction == "maximize" else -value
