"""Where the published TensorFlow 1 checkpoint keeps each array of the network.

The published names are those of the code at github.com/ViniciusMikuni/UCluster.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.format.features import N_FEATURES
from ucluster_tune.errors import ModelError
from ucluster_tune.model.abcnet import CENTROIDS, Abcnet, build_abcnet
from ucluster_tune.model.parameters import FloatArray, Shape, VectorLayout

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
_DENSE = ("head_1", "head_2", "logits")  # all others are 1x1 convolutions there: [1, 1, in, out]


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


def published_shape(name: str, shape: Shape) -> Shape:
    """Return the published shape of an array of the network.

    >>> published_shape("embedding/weights", (848, 3))
    (1, 1, 848, 3)
    """
    layer, _, part = name.rpartition("/")
    return (1, 1, *shape) if part == "weights" and layer not in _DENSE else shape


def config_from_published(shapes: Mapping[str, Shape], n_neighbors: int) -> ModelConfig:
    """Return the configuration of the network whose arrays have these published shapes.

    Args:
        shapes: by published name.
        n_neighbors: which leaves no trace in the weights.

    Raises:
        ModelError: an array is missing, or the shapes are not those of this network.
    """

    def last(name: str) -> int:
        published = published_name(name)
        if published not in shapes:
            raise ModelError(
                f"no variable {published!r}: these are not the weights of UCluster;"
                " it has mu, agg/weights, gapnet01/weights and so on"
            )
        return shapes[published][-1] if shapes[published] else 0

    centroids = shapes.get(published_name(CENTROIDS), ())
    values = {
        "n_clusters": centroids[0] if centroids else 0,
        "n_neighbors": n_neighbors,
        "embedding_dim": last(CENTROIDS),
        "n_mass_bins": last("logits/biases"),
        "first_attention_width": last("first_attention/edge/weights"),
        "first_widths": (last("first_convolution_1/weights"), last("first_convolution_2/weights")),
        "second_attention_width": last("second_attention/edge/weights"),
        "second_widths": (
            last("second_convolution_1/weights"),
            last("second_convolution_2/weights"),
        ),
        "head_widths": (last("head_1/weights"), last("head_2/weights")),
    }
    try:
        config = ModelConfig.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ModelError(
            f"the variables' shapes give {'.'.join(map(str, fault['loc']))} ="
            f" {fault['input']}, which this network cannot have: {fault['msg']}"
        ) from error
    network = build_abcnet(config)
    for name, shape in (*network.parameters.entries, *network.averages.entries):
        published, wanted = published_name(name), published_shape(name, shape)
        found = shapes.get(published)
        if found != wanted:
            raise ModelError(
                f"variable {published!r} {f'has shape {list(found)}' if found else 'is missing'},"
                f" a UCluster of {N_FEATURES} features and these widths needs {list(wanted)}"
            )
    return config


def refuse_unpublished(config: ModelConfig) -> None:
    """Raise ModelError for a network that the published code cannot be."""
    published = ModelConfig()
    options = ("mask_padding_in_pool", "mask_padding_in_neighbors", "n_attention_heads", "head")
    changed = [name for name in options if getattr(config, name) != getattr(published, name)]
    if changed:
        raise ModelError(
            f"the model has {', '.join(f'{n}: {getattr(config, n)}' for n in changed)}, which the"
            " published code has not: it would give other numbers with these weights"
        )


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
    return (
        vector_from_published(network.parameters, read),
        vector_from_published(network.averages, read),
    )


def vector_from_published(
    layout: VectorLayout, read: Callable[[str], npt.NDArray[np.float32]], ending: str = ""
) -> FloatArray:
    """Return one vector of a published checkpoint.

    Args:
        layout: of the vector.
        read: returns the array of a published name.
        ending: of the published names: "/Adam" and "/Adam_1" are the moments of the gradient.

    Raises:
        ModelError: an array has another shape than the network's.
    """
    found = {name: read(published_name(name) + ending) for name in layout.names}
    return layout.to_vector(
        {name: array[0, 0] if array.ndim == 4 else array for name, array in found.items()}
    )


def published_arrays(
    layout: VectorLayout, vector: FloatArray, ending: str = ""
) -> dict[str, FloatArray]:
    """Return the arrays of a vector by their published names, in their published shapes."""
    return {
        published_name(name) + ending: array.reshape(published_shape(name, array.shape))
        for name, array in layout.to_arrays(vector).items()
    }
