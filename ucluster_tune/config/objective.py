"""What makes one trial better than another; one metric today.

All that reads a trial's worth out of an epoch asks here, so that a second metric needs this file,
`study.ranking` and what tables show.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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

    def value_of(self, epoch: Mapping[str, Any]) -> float | None:
        """Return the metric of an epoch's record, None where it is missing or not finite.

        >>> ObjectiveConfig().value_of({"clustering_accuracy": 0.5})
        0.5
        """
        value = epoch.get(self.metric)
        return float(value) if value is not None and math.isfinite(value) else None

    def worth_of(self, epoch: Mapping[str, Any]) -> float | None:
        """Return the same, with the sign that makes more of it better.

        >>> ObjectiveConfig(metric="ari").worth_of({"ari": 0.5})
        0.5
        >>> ObjectiveConfig(metric="focal_loss", direction="minimize").worth_of({"focal_loss": 2})
        -2.0
        """
        value = self.value_of(epoch)
        return value if value is None or self.direction == "maximize" else -value
