"""What training tells of each epoch; the one thing that leaves the workers."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Phase = Literal["pretraining", "clustering"]


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

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)


METRIC_NAMES = tuple(
    field.name for field in fields(EpochRecord) if field.type in ("float", float)
)
"""Names of all numbers of a record that make a curve."""
