"""What training tells of each epoch, and which epoch of a trial is its best.

Loads without TensorFlow, for those who only read records.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ucluster_tune.config.objective import ObjectiveConfig

Phase = Literal["pretraining", "clustering"]
Rank = tuple[bool, float]


@dataclass(frozen=True)
class EpochRecord:
    """Losses on the training jets and quality of the clusters on the validation jets.

    A number is NaN where it was not finite in a record that was read, an older record lacks it, or
    it needs classes and the jets have none.

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
        silhouette: how far apart clusters are in the network's own embedding, mean over the
            validation jets; knows no labels: see `training.metrics.silhouettes`.
        stability: how alike k-means clusters half of the validation jets and the other half, in
            the network's own embedding; knows no labels: see `training.kmeans.stability`.
        confusion: jets by [cluster][class]; rows are empty where jets have no classes.
        class_names: of the columns of `confusion`.
        warnings: what is wrong with the embedding or the clusters at the epoch's end, one line
            each with epoch, step and learning rate; see `training.health`.
    """

    epoch: int
    phase: Phase = "pretraining"
    focal_loss: float = math.nan
    clustering_loss: float = math.nan
    total_loss: float = math.nan
    learning_rate: float = math.nan
    inverse_temperature: float = math.nan
    jets_per_second: float = math.nan
    seconds: float = math.nan
    clustering_accuracy: float = math.nan
    clustering_accuracy_batched: float = math.nan
    purity: float = math.nan
    nmi: float = math.nan
    ari: float = math.nan
    silhouette: float = math.nan
    stability: float = math.nan
    confusion: list[list[int]] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.epoch < 1:
            raise ValueError(f"epoch must be a whole number from 1, got {self.epoch}")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "EpochRecord":
        """Return the record that another process wrote: fields may be unknown, missing, or null.

        Raises:
            TypeError, ValueError: it has no epoch, counted from 1.

        >>> EpochRecord.from_values({"epoch": 3, "nmi": 0.5, "of_a_later_version": 1}).nmi
        0.5
        """
        return cls(**known_values(values))

    def as_values(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)

    def value(self, metric: str) -> float | None:
        """Return a metric by its name, None where it is not finite."""
        value = float(getattr(self, metric))
        return value if math.isfinite(value) else None

    def is_same_training(self, other: "EpochRecord") -> bool:
        """Return whether both are of the same epoch with the same result, at whatever speed."""
        return self.epoch == other.epoch and all(
            _comparable(getattr(self, name)) == _comparable(getattr(other, name))
            for name in _NAMES
            if name not in _SPEED
        )


_NAMES = tuple(field.name for field in fields(EpochRecord))
_SPEED = ("jets_per_second", "seconds")  # differ when an epoch is run again


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this version knows of an epoch's plain values, nulls left out."""
    return {name: values[name] for name in _NAMES if values.get(name) is not None}


def _comparable(value: Any) -> Any:
    """Return a value as the journal keeps it: none that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def epoch_rank(epoch: EpochRecord, objective: ObjectiveConfig) -> Rank | None:
    """Return what orders epochs, the best one last; None when the objective is not a number.

    Epochs of the clustering phase go before those of the pretraining phase, whose losses and
    centroids are something else.

    >>> epoch = EpochRecord(epoch=7, phase="clustering", clustering_accuracy=0.5)
    >>> epoch_rank(epoch, ObjectiveConfig())
    (True, 0.5)
    """
    value = epoch.value(objective.metric)
    return None if value is None else (epoch.phase == "clustering", objective.worth(value))


def label_free_record(best: EpochRecord | None, record: EpochRecord) -> EpochRecord | None:
    """Return the better of two epochs by what needs no labels, the first one where they are equal.

    The more stable one of the clustering phase (see `training.kmeans.stability`); None as long as
    there is none.
    """
    own = record.value("stability") if record.phase == "clustering" else None
    if own is None:
        return best
    return record if best is None or own > (best.value("stability") or 0.0) else best


def best_record(
    best: EpochRecord | None, record: EpochRecord, objective: ObjectiveConfig
) -> EpochRecord | None:
    """Return the better of two epochs; the first one where they are equal."""
    rank = epoch_rank(record, objective)
    if rank is None:
        return best
    best_rank = None if best is None else epoch_rank(best, objective)
    return record if best_rank is None or rank > best_rank else best
