"""What `ucluster-tune data describe --fingerprint` shows: table, JSON and a sentence."""

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from ucluster_tune.report import cells

if TYPE_CHECKING:  # loads TensorFlow
    from ucluster_tune.models.fingerprint import Fingerprint

NEAR_MEAN: Final = 0.02
NEAR_VARIANCE: Final = 0.03
"""Jets made by one recipe with two seeds, 4 000 of each class, stay below both."""

_NAMES: Final = {"first_attention/self": "inputs (first convolution)"}


def is_near(found: "Fingerprint") -> bool:
    """Tell whether all layers see what they saw in training."""
    return all(
        layer.mean <= NEAR_MEAN and layer.variance <= NEAR_VARIANCE for layer in found.layers
    )


def fingerprint_sentence(found: "Fingerprint") -> str:
    """Return what the numbers say, in a sentence."""
    by_mean = found.worst
    by_variance = max(found.layers, key=lambda layer: layer.variance)
    if is_near(found):
        return (
            "To this model these are jets as it was trained on: no layer's means are off by more"
            f" than {by_mean.mean:.3f} standard deviations, nor its variances by more than"
            f" {by_variance.variance:.1%}."
        )
    return (
        "To this model these are other jets than it was trained on: the means of"
        f" {_name(by_mean.layer)} are off by {by_mean.mean:.3f} standard deviations, the variances"
        f" of {_name(by_variance.layer)} by {by_variance.variance:.1%} (the same jets stay below"
        f" {NEAR_MEAN:g} and {NEAR_VARIANCE:.0%}, where there are some thousand of them)."
    )


def fingerprint_document(found: "Fingerprint", model: str) -> dict[str, Any]:
    """Return the numbers as plain values."""
    return {
        "model": model,
        "n_jets": found.n_jets,
        "selection": str(found.selection),
        "is_near": is_near(found),
        "sentence": fingerprint_sentence(found),
        "layers": [
            {
                "layer": layer.layer,
                "n_channels": layer.n_channels,
                "mean_deviation": layer.mean,
                "largest_mean_deviation": layer.largest_mean,
                "variance_deviation": layer.variance,
            }
            for layer in found.layers
        ],
        "inputs": {
            name: {"trained_on": trained, "found": here}
            for name, (trained, here) in found.inputs.items()
        },
    }


def fingerprint_view(found: "Fingerprint", model: str) -> RenderableType:
    """Return the numbers as people read them."""
    layers = cells.plain_table(
        "Layer",
        "channels",
        "means off (sd)",
        "worst",
        "variances off",
        left=("Layer",),
    )
    for layer in found.layers:
        layers.add_row(
            _name(layer.layer),
            f"{layer.n_channels}",
            f"{layer.mean:.4f}",
            f"{layer.largest_mean:.4f}",
            f"{layer.variance:.1%}",
        )
    parts: list[RenderableType] = [
        Text(f"Fingerprint: {found.n_jets:,} jets, {found.selection}, in the layers of {model}"),
        layers,
    ]
    if found.inputs:
        inputs = cells.plain_table(
            "Mean input, padding included",
            "trained on",
            "these jets",
            left=("Mean input, padding included",),
        )
        for name, (trained, here) in found.inputs.items():
            inputs.add_row(name, f"{trained:.4f}", f"{here:.4f}")
        parts += [Text(), inputs]
    return Group(*parts, Text(fingerprint_sentence(found)))


def _name(layer: str) -> str:
    return _NAMES.get(layer, layer)
