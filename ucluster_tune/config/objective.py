"""What makes one trial better than another; one metric today.

A second one needs this file, what ranks epochs by it, and what tables show.
"""

from typing import ClassVar, Literal

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
]
LOSSES = ("focal_loss", "clustering_loss", "total_loss")


def _direction(metric: str, direction: str) -> str | None:
    expected = "minimize" if metric in LOSSES else "maximize"
    return None if direction == expected else f"must be {expected} for {metric}, got {direction}"


class ObjectiveConfig(Section):
    """What makes one trial better than another, measured on validation jets."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("direction", ("metric", "direction"), _direction),)

    metric: Metric = "clustering_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    def worth(self, value: float) -> float:
        """Return a value of the metric with the sign that makes more of it better.

        >>> ObjectiveConfig(metric="focal_loss", direction="minimize").worth(2.0)
        -2.0
        """
        return value if self.direction == "maximize" else -value
