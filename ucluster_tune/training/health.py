"""Signs that a training goes wrong though its losses are finite; pure NumPy.

Warnings do not end a training: early epochs may have an empty cluster that fills later. An
embedding that is zero for every jet does: the ReLU before it then passes no gradient back, so that
nothing in the network can ever change again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

EMPTY_CLUSTER: Final = "empty cluster"
SWALLOWING_CLUSTER: Final = "all-swallowing cluster"
COLLAPSED_EMBEDDING: Final = "collapsed embedding"

MAX_DEAD_STEPS: Final = 100
"""After so many steps in a row without gradient Adam's momentum has died away too."""

_LOOKED_AT_JETS: Final = 1000  # fewer could miss a cluster by chance
_SWALLOWED_SHARE: Final = 0.99
_COLLAPSED_SPREAD: Final = 1e-3


@dataclass(frozen=True)
class StepHealth:
    """What one step tells, over the jets of all workers.

    Attributes:
        step: in its epoch, from 1.
        learning_rate: of the step.
        cluster_jets: float [cluster]; jets nearest to each centroid.
        embedding_mean: float [dim].
        embedding_variance: float [dim].
    """

    step: int
    learning_rate: float
    cluster_jets: Floats
    embedding_mean: Floats
    embedding_variance: Floats

    @property
    def spread(self) -> float:
        """Standard deviation of the embedding over its size; 0 where all jets are one point."""
        size = float(np.sqrt(np.sum(np.square(self.embedding_mean))))
        deviation = float(np.sqrt(np.sum(np.maximum(self.embedding_variance, 0.0))))
        return deviation / size if size > 0 else deviation

    @property
    def is_dead(self) -> bool:
        """Whether the embedding is zero for every jet."""
        return not np.any(self.embedding_mean) and not np.any(self.embedding_variance)


def epoch_warnings(steps: Sequence[StepHealth], epoch: int, in_pretraining: bool) -> list[str]:
    """Return what is wrong at the end of an epoch, one line each, opened by its name.

    The clusters are looked at in the last steps that hold 1000 jets together, or in all there are;
    in the pretraining phase there are none yet.
    """
    found = []
    if steps[-1].spread <= _COLLAPSED_SPREAD:
        first = _first_of_last_run([step.spread <= _COLLAPSED_SPREAD for step in steps])
        found.append(
            f"{COLLAPSED_EMBEDDING}: jets differ by {steps[-1].spread:.1g} of its size"
            f" {_since(steps[first], epoch)}"
        )
    if in_pretraining:
        return found
    jets = np.array([step.cluster_jets for step in steps])
    looked_at = _last_steps_with(jets.sum(axis=1), _LOOKED_AT_JETS)
    counts = jets[looked_at:].sum(axis=0)
    for cluster in np.flatnonzero(counts == 0):
        first = _first_of_last_run(jets[:, cluster] == 0)
        found.append(
            f"{EMPTY_CLUSTER}: no jet is nearest to centroid {cluster}"
            f" {_since(steps[first], epoch)}"
        )
    largest = int(np.argmax(counts))
    share = counts[largest] / counts.sum()
    if share > _SWALLOWED_SHARE:
        first = _first_of_last_run(jets[:, largest] > _SWALLOWED_SHARE * jets.sum(axis=1))
        found.append(
            f"{SWALLOWING_CLUSTER}: cluster {largest} holds {100 * share:.1f} % of the jets"
            f" {_since(steps[min(first, looked_at)], epoch)}"
        )
    return found


def _since(step: StepHealth, epoch: int) -> str:
    return f"since epoch {epoch}, step {step.step}, at learning rate {step.learning_rate:g}"


def _first_of_last_run(flags: Sequence[bool] | npt.NDArray[np.bool_]) -> int:
    """Return where the run of true flags at the end begins; the length where there is none.

    >>> _first_of_last_run([True, False, True, True])
    2
    """
    others = np.flatnonzero(~np.asarray(flags, bool))
    return int(others[-1]) + 1 if len(others) else 0


def _last_steps_with(jets: Floats, n_jets: int) -> int:
    """Return the first of the last steps that hold `n_jets` together; 0 where all hold fewer."""
    from_the_end = np.cumsum(jets[::-1])
    enough = np.flatnonzero(from_the_end >= n_jets)
    return len(jets) - 1 - int(enough[0]) if len(enough) else 0
