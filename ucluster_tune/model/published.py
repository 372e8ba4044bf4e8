"""Where the published TensorFlow 1 checkpoint keeps each array of the network.

The published names are those of the code at github.com/ViniciusMikuni/UCluster.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ucluster_tune.model.abcnet import CENTROIDS, Abcnet
from ucluster_tune.model.parameters import FloatArray

_LAYERS = {
    "first_convolution_1": "gapnet01",
    "first_convolution_2": "gapnet02",
    "second_convolution_1": "gapnet11",
    "second_convolution_2": "gapnet12",
    "embedding": "agg",
    "head_1": "fc1",
    "head_2": "fc2",
    "logits": "fc3",
    **{
        f"{block}_attention/{layer}": f"layerfilter{index}_{published}_0"
        for index, block in enumerate(("first", "second"))
        for layer, published in {
            "edge": "edgefea",
            "self": "newfea_conv_head",
            "self_logit": "self_att_conv_head",
            "neighbor_logit": "neib_att_conv_head",
        }.items()
    },
}
_OTHERS = {
    "first_attention/output/biases": "BiasAdd/biases",
    "second_attention/output/biases": "BiasAdd_1/biases",
    CENTROIDS: "mu",
}
_MOMENTS = {"mean": "Squeeze", "variance": "Squeeze_1"}


def published_name(name: str) -> str:
    """Return the published name of an array of the network.

    >>> published_name("head_1/gamma")
    'fc1/bn/gamma'
    """
    if name in _OTHERS:
        return _OTHERS[name]
    layer, part = name.rsplit("/", 1)
    published = _LAYERS[layer]
    if part in _MOMENTS:
        moment = f"{published}/bn/moments/{_MOMENTS[part]}/ExponentialMovingAverage"
        return f"{published}/bn/{moment}"
    if part in ("gamma", "beta"):
        return f"{published}/bn/{part}"
    return f"{published}/{part}"


def vectors_from_published(
    network: Abcnet, read: Callable[[str], npt.NDArray[np.float32]]
) -> tuple[FloatArray, FloatArray]:
    """Return parameters and batch-norm averages of a published checkpoint.

    Args:
        network: of the published shape.
        read: returns the array of a published name; convolution kernels are [1, 1, in, out].

    Raises:
        ModelError: an array has another shape than the network's.
    """

    def arrays(names: tuple[str, ...]) -> dict[str, npt.NDArray[np.float32]]:
        found = {name: read(published_name(name)) for name in names}
        return {name: array[0, 0] if array.ndim == 4 else array for name, array in found.items()}

    return (
        network.parameters.to_vector(arrays(network.parameters.names)),
        network.averages.to_vector(arrays(network.averages.names)),
    )
