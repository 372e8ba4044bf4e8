"""Planes on which an embedding of any dimension can be looked at; plain numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

THREE_PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Projection:
    """Jets and centroids in at most three coordinates, and the pairs of them to draw.

    Attributes:
        points: floats [jet, coordinate].
        centroids: floats [cluster, coordinate].
        labels: of the coordinates.
        planes: pairs of coordinates: horizontal and vertical axis.
    """

    points: Floats
    centroids: Floats
    labels: tuple[str, ...]
    planes: tuple[tuple[int, int], ...]


def project(embedding: Floats, centroids: Floats, mass_gev: Floats) -> Projection:
    """Return the planes of an embedding: its own, or those of its three principal components.

    A one-dimensional embedding is paired with the jet's mass; its centroids have none and are put
    at the mean mass of the jets nearest to them.

    Args:
        embedding: floats [jet, dim].
        centroids: floats [cluster, dim].
        mass_gev: floats [jet].
    """
    n_dimensions = embedding.shape[1]
    if n_dimensions == 1:
        nearest = np.abs(embedding - centroids.T).argmin(axis=1)
        mean_mass = [
            mass_gev[nearest == cluster].mean() if (nearest == cluster).any() else mass_gev.mean()
            for cluster in range(len(centroids))
        ]
        return Projection(
            np.column_stack([embedding, mass_gev]),
            np.column_stack([centroids, mean_mass]),
            ("embedding", "jet mass [GeV]"),
            ((0, 1),),
        )
    if n_dimensions > 3:
        return _principal_components(embedding, centroids)
    labels = tuple(f"embedding {axis + 1}" for axis in range(n_dimensions))
    return Projection(
        embedding, centroids, labels, ((0, 1),) if n_dimensions == 2 else THREE_PLANES
    )


def _principal_components(embedding: Floats, centroids: Floats) -> Projection:
    mean = embedding.mean(axis=0)
    _, singular, axes = np.linalg.svd(embedding - mean, full_matrices=False)
    variance = singular**2 / max(float((singular**2).sum()), np.finfo(float).tiny)
    to_three = axes[:3].T
    labels = tuple(
        f"component {axis + 1} ({100 * variance[axis]:.0f} % of variance)" for axis in range(3)
    )
    return Projection(
        (embedding - mean) @ to_three, (centroids - mean) @ to_three, labels, THREE_PLANES
    )
