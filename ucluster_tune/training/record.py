"""What training tells of each epoch, and which epoch of a trial is its best.

Loads without TensorFlow, for those who only read records.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ucluster_tune.config.objective import ObjectiveConfig

Phase = Literal["pretraining", "clustering"]
Rank = tuple[bool, float]


@dataclass(frozen=True)
class EpochRecord:
    """Losses on the training jets and quality of the clusters on the validation jets.

    Attributes:
        epoch: 1 for the first.
        phase: pretraining minimises the focal loss alone.
        focal_loss: mean over the epoch's training jets, each before its step's update.
        clustering_loss: likewise; 0 in pretraining, where there are no centroids yet.
        total_loss: what was minimised: the two with their weights.
        learning_rate: at the epoch's last step.
        inverse_temperature: alpha; 0 in pretraining.
        jets_per_second: training jets of all workers, per second of training steps.
        seconds: the whole epoch, evaluation included.
        clustering_accuracy: share of jets in the cluster that belongs to their class, clusters
            matched to classes one to one over all validation jets.
        clustering_accuracy_batched: the published protocol: matched anew inside each batch,
            mean over batches. It flatters.
        purity: share of jets whose class is the most frequent one of their cluster.
        nmi: normalised mutual information of clusters and classes.
        ari: adjusted Rand index.
        confusion: jets by [cluster][class].
        class_names: of the columns of `confusion`.
        warnings: what is wrong with the embedding or the clusters at the epoch's end, one line
            each with epoch, step and learning rate; see `training.health`.
    """

    epoch: int
    phase: Phase
    focal_loss: float
    clustering_loss: float
    total_loss: float
    learning_rate: float
    inverse_temperature: float
    jets_per_second: float
    seconds: float
    clustering_accuracy: float
    clustering_accuracy_batched: float
    purity: float
    nmi: float
    ari: float
    confusion: list[list[int]]
    class_names: list[str]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)


RECORD_FIELDS = tuple(field.name for field in fields(EpochRecord))
SPEED_FIELDS = ("jets_per_second", "seconds")  # differ when an epoch is run again


def epoch_rank(epoch: Mapping[str, Any], objective: ObjectiveConfig) -> Rank | None:
    """Return what orders epochs, the best one last; None when the objective is not a number.

    Epochs of the clustering phase go before those of the pretraining phase, whose losses and
    centroids are something else.

    >>> objective = ObjectiveConfig()
    >>> epoch_rank({"phase": "clustering", "clustering_accuracy": 0.5}, objective)
    (True, 0.5)
    """
    value = epoch.get(objective.metric)
    if value is None or not math.isfinite(value):
        return None
    sign = 1.0 if objective.direction == "maximize" else -1.0
    return epoch.get("phase") == "clustering", sign * value


def best_record(
    best: dict[str, Any] | None, record: dict[str, Any], objective: ObjectiveConfig
) -> dict[str, Any] | None:
    """Return the better of two epochs; the first one where they are equal."""
    rank = epoch_rank(record, objective)
    if rank is None:
        return best
    best_rank = None if best is None else epoch_rank(best, objective)
    return record if best_rank is None or rank > best_rank else best
