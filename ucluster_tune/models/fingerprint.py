"""How near jets are to those that a model was trained on, by the model's own batch-norm averages.

Batch norm keeps the mean and the variance of what it saw in training, channel by channel: a
fingerprint of the training jets that travels with the weights. Other jets, sent through the
network as in training, have moments of their own; where they are the same jets in the statistical
sense, all moments agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.packed import FloatArray, PackedBatch, PackedJets, concatenate
from ucluster_tune.data.reading.jet_source import JetSource, SelectedJets
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError
from ucluster_tune.model.abcnet import Abcnet, build_abcnet
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.models.saved import SavedModel

MAX_JETS: Final = 12_000
JETS_PER_BATCH: Final = 512
"""As published: the moments of a layer depend on the batch norm of the layers before it."""
PUBLISHED_CLASSES: Final = ("w", "z", "t")

_FIRST_CONVOLUTION: Final = "first_attention/self"
_LAYERS: Final = (
    "first_attention/edge",
    "first_convolution_1",
    "first_convolution_2",
    "second_attention/edge",
    "second_convolution_1",
    "second_convolution_2",
    "embedding",
)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerDeviation:
    """How far the moments of a layer are from those that it saw in training.

    Attributes:
        layer: its name.
        n_channels: of it.
        mean: mean over channels of |difference of means| in standard deviations.
        largest_mean: the largest one.
        variance: exp of the mean over channels of |ln(ratio of variances)|, minus 1.
    """

    layer: str
    n_channels: int
    mean: float
    largest_mean: float
    variance: float


@dataclass(frozen=True)
class Fingerprint:
    """What the jets of a data set look like to a model.

    Attributes:
        n_jets: that were looked at.
        selection: which ones.
        layers: in the order of the network; channels that were constant in training are left out.
        inputs: feature to its mean over all constituents, padding included: that of the jets that
            the model was trained on, and that of these; empty where the model does not know it.
    """

    n_jets: int
    selection: Selection
    layers: tuple[LayerDeviation, ...]
    inputs: dict[str, tuple[float, float]]

    @property
    def worst(self) -> LayerDeviation:
        """The layer whose means are furthest off."""
        return max(self.layers, key=lambda layer: layer.mean)


def take_fingerprint(
    model: SavedModel, source: JetSource, selection: Selection, seed: int = 1
) -> Fingerprint:
    """Return how far the jets of a source are from those that a model was trained on.

    Looks at MAX_JETS jets, chosen by lot.

    Args:
        model: with the averages of its training.
        source: of the jets.
        selection: of the jets that the model was trained on.
        seed: of the lot.

    Raises:
        DataError: no jets pass the selection, or one cannot be read.
    """
    network = build_abcnet(model.config)
    jets = _chosen_jets(SelectedJets(source, selection), seed)
    stored = network.averages.to_arrays(model.averages)
    found, inputs = _moments(network, model, jets)
    of_inputs: dict[str, tuple[float, float]] = {}
    layers = list(_LAYERS)
    if _has_first_convolution(stored):
        weights = network.parameters.to_arrays(model.parameters)[f"{_FIRST_CONVOLUTION}/weights"]
        layers.insert(0, _FIRST_CONVOLUTION)
        mean, covariance = inputs
        found[f"{_FIRST_CONVOLUTION}/mean"] = mean @ weights
        found[f"{_FIRST_CONVOLUTION}/variance"] = np.einsum(
            "ic,ij,jc->c", weights, covariance, weights
        )
        trained = np.linalg.lstsq(weights.T, stored[f"{_FIRST_CONVOLUTION}/mean"], rcond=None)[0]
        pairs = zip(trained.tolist(), mean.tolist(), strict=True)
        of_inputs = dict(zip(FEATURE_NAMES, pairs, strict=True))
    return Fingerprint(
        n_jets=len(jets),
        selection=selection,
        layers=tuple(_deviation(layer, stored, found) for layer in layers),
        inputs=of_inputs,
    )


def _chosen_jets(source: SelectedJets, seed: int) -> PackedJets:
    """Return at most MAX_JETS jets of blocks chosen by lot, mixed."""
    generator = np.random.default_rng(seed)
    parts: list[PackedJets] = []
    for index in generator.permutation(len(source.block_sizes)).tolist():
        parts += source.read(range(index, index + 1))
        if sum(map(len, parts)) >= MAX_JETS:
            break
    if not parts:
        raise DataError(
            f"{source.description}: no jets; a fingerprint needs jets of the classes and masses"
            " that the model was trained on: choose other data"
        )
    jets = concatenate(parts)
    return jets.take(generator.permutation(len(jets))[:MAX_JETS])


def _moments(
    network: Abcnet, model: SavedModel, jets: PackedJets
) -> tuple[dict[str, Array], tuple[Array, Array]]:
    """Return the moments of all layers by name, and mean and covariance of the features."""
    parameters = network.parameters.unpack(tf.constant(model.parameters))
    searched = FirstNeighborSearch(model.config)(jets)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def of_batch(batch: PackedBatch) -> tf.Tensor:
        seed = tf.zeros([2], tf.int32)  # of dropout, in front of the embedding alone
        return network.in_training(parameters, batch, dropout_seed=seed)[2]

    numbers = np.arange(len(jets))
    parts = np.array_split(numbers, max(1, round(len(jets) / JETS_PER_BATCH)))
    total = np.zeros(network.averages.size)
    mean, square = np.zeros(len(FEATURE_NAMES)), np.zeros((len(FEATURE_NAMES),) * 2)
    for chosen in parts:
        batch = searched.batch(chosen, model.config.n_neighbors)
        total += of_batch(PackedBatch(*map(tf.constant, batch))).numpy() / len(parts)
        features, shares = batch.features.astype(float), batch.weights / batch.weights.sum()
        mean += shares @ features / len(parts)
        square += features.T @ (features * shares[:, None]) / len(parts)
    arrays = network.averages.to_arrays(total.astype(np.float32))
    found = {name: array.astype(float) for name, array in arrays.items()}
    return found, (mean, square - np.outer(mean, mean))


def _has_first_convolution(stored: Mapping[str, FloatArray]) -> bool:
    """Tell whether the published branch that acts on nothing was kept up to date in training.

    Here it stays at its start, mean 0 and variance 1.
    """
    return bool(np.any(stored[f"{_FIRST_CONVOLUTION}/mean"] != 0.0))


def _deviation(
    layer: str, stored: Mapping[str, FloatArray], found: Mapping[str, Array]
) -> LayerDeviation:
    variance = stored[f"{layer}/variance"].astype(float)
    seen = found[f"{layer}/variance"]
    is_alive = (variance > 0) & (seen > 0)
    difference = found[f"{layer}/mean"] - stored[f"{layer}/mean"]
    means = np.abs(difference[is_alive]) / np.sqrt(variance[is_alive])
    logarithms = np.abs(np.log(seen[is_alive] / variance[is_alive]))
    return LayerDeviation(
        layer=layer,
        n_channels=len(variance),
        mean=_mean(means),
        largest_mean=float(means.max(initial=0.0)),
        variance=float(np.expm1(_mean(logarithms))),
    )


def _mean(values: Sequence[float] | Array) -> float:
    return float(np.mean(values)) if len(values) else 0.0
