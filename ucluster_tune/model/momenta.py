"""From constituents' momenta to what the network reads, in stock TensorFlow, for exported models.

The same as `data.format.features`, `data.format.packed` and the first neighbour search, which
work with NumPy ahead of a training; a test holds the two to each other.

All is in double precision, as there, but for log and atan2, which an ONNX graph has in single
precision alone: a step of Newton's makes their results as good.
"""

from typing import Final, NamedTuple

import tensorflow as tf

from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.data.format.features import MAX_CONSTITUENTS, PRONG_DISTANCE
from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.neighbors import first_neighbors

_NOTHING_GEV: Final = 1e-9  # in place of 0, where there is no particle: all stays finite


class _Particles(NamedTuple):
    """Particles by [jet, particle], or [jet, 1], in double precision.

    Attributes:
        px, py: in GeV.
        energy, pt: in GeV; never 0.
        eta: pseudorapidity.
    """

    px: tf.Tensor
    py: tf.Tensor
    energy: tf.Tensor
    pt: tf.Tensor
    eta: tf.Tensor


def features_of_momenta(constituents: tf.Tensor, jet: tf.Tensor | None = None) -> tf.Tensor:
    """Return the features of the hardest constituents: float32 [jet, MAX_CONSTITUENTS, feature].

    Those of a jet come in descending pt, and padding, all zeros, behind them; see
    `constituent_features` for their meaning.

    Args:
        constituents: float [jet, constituent, 4], px py pz energy in GeV, in any order. Without
            pt or energy it is padding.
        jet: float [jet, 4], the momenta that features are relative to; None for the sums of all
            constituents.
    """
    momenta = tf.cast(constituents, tf.float64)
    is_real = (_pt(momenta) > 0) & (momenta[..., 3] > 0)
    momenta = tf.where(is_real[..., None], momenta, tf.zeros_like(momenta))
    axis = tf.reduce_sum(momenta, axis=1) if jet is None else tf.cast(jet, tf.float64)
    momenta = tf.pad(momenta, [[0, 0], [0, MAX_CONSTITUENTS], [0, 0]])
    hardest = tf.math.top_k(_pt(momenta), k=MAX_CONSTITUENTS).indices
    momenta = tf.gather(momenta, hardest, batch_dims=1)
    particles, of_jet = _particles(momenta), _particles(axis[:, None, :])
    eta_rel = particles.eta - of_jet.eta
    phi_rel = _turn(of_jet, particles)
    features = [
        eta_rel,
        phi_rel,
        _log(particles.pt / of_jet.pt),
        tf.sqrt(tf.square(eta_rel) + tf.square(phi_rel)),
        _log(particles.energy),
        _log(particles.energy / of_jet.energy),
        _log(particles.pt),
        _cos_theta_rel(particles, is_real=_pt(momenta) > 0),
    ]
    stacked = tf.cast(tf.stack(features, axis=-1), tf.float32)
    return tf.where((_pt(momenta) > 0)[..., None], stacked, tf.zeros_like(stacked))


def batch_of_features(features: tf.Tensor, config: ModelConfig) -> PackedBatch:
    """Return jets as the network reads them, with their first neighbours.

    Args:
        features: float32 [jet, MAX_CONSTITUENTS, feature]; padding, all zeros, comes last.
        config: of the network.
    """
    is_real = tf.reduce_any(tf.not_equal(features, 0.0), axis=-1)
    n_real = tf.reduce_sum(tf.cast(is_real, tf.int32), axis=1)
    n_padded = MAX_CONSTITUENTS - n_real
    n_rows = n_real + tf.cast(n_padded > 0, tf.int32)
    ends = tf.cumsum(n_rows)
    slots = tf.range(MAX_CONSTITUENTS)[None, :]
    is_row = slots < n_rows[:, None]
    dense_rows = tf.where(is_row, (ends - n_rows)[:, None] + slots, -1)
    chosen = tf.where(is_row)
    counts = tf.where(slots < n_real[:, None], 1, n_padded[:, None])
    repeats = tf.range(1, config.n_neighbors)[None, :]
    repeated = tf.where(repeats < n_padded[:, None], (ends - 1)[:, None], -1)
    dense_columns = tf.concat([dense_rows, repeated], axis=1)
    rows = tf.gather_nd(features, chosen)
    return PackedBatch(
        features=rows,
        weights=tf.cast(tf.gather_nd(counts, chosen), tf.float32),
        jet=tf.cast(chosen[:, 0], tf.int32),
        first_neighbors=first_neighbors(
            rows, dense_rows, dense_columns, config.n_neighbors, config.padding_distance
        ),
        dense_rows=dense_rows,
        dense_columns=dense_columns,
        starts=tf.concat([[0], ends], axis=0),
        n_padded=n_padded,
    )


def _pt(momenta: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.square(momenta[..., 0]) + tf.square(momenta[..., 1]))


def _log(values: tf.Tensor) -> tf.Tensor:
    """Return the natural logarithm of positive numbers."""
    rough = tf.cast(tf.math.log(tf.cast(values, tf.float32)), tf.float64)
    return rough + values * tf.exp(-rough) - 1


def _particles(momenta: tf.Tensor) -> _Particles:
    px, py, pz, energy = tf.unstack(momenta, axis=-1)
    pt = tf.maximum(_pt(momenta), _NOTHING_GEV)
    slope = tf.abs(pz) / pt
    eta = tf.sign(pz) * _log(slope + tf.sqrt(tf.square(slope) + 1))  # asinh(pz / pt)
    return _Particles(px, py, tf.maximum(energy, _NOTHING_GEV), pt, eta)


def _turn(start: _Particles, end: _Particles) -> tf.Tensor:
    """Return the angle in phi from one particle to others, in [-pi, pi]."""
    scale = 1 / (start.pt * end.pt)
    across = (start.px * end.py - start.py * end.px) * scale
    along = (start.px * end.px + start.py * end.py) * scale
    angle = tf.cast(tf.atan2(tf.cast(across, tf.float32), tf.cast(along, tf.float32)), tf.float64)
    return angle + across * tf.cos(angle) - along * tf.sin(angle)  # the sine of what is missing


def _cos_theta_rel(particles: _Particles, is_real: tf.Tensor) -> tf.Tensor:
    """Return the feature of this name, float64 [jet, particle]; see `cos_theta_rel`.

    Args:
        particles: of each jet, in descending pt.
        is_real: bool [jet, particle].
    """
    lead = _Particles(*(values[:, :1] for values in particles))
    x = particles.eta - lead.eta
    scale = 1 / (lead.pt * particles.pt)
    cosine = (lead.px * particles.px + lead.py * particles.py) * scale  # of the turn in phi
    across = (lead.px * particles.py - lead.py * particles.px) * scale
    along = (tf.exp(x) - tf.exp(-x)) / 2
    distance = tf.sqrt(tf.square(x) + tf.square(_turn(lead, particles)))
    is_far = is_real & (distance > PRONG_DISTANCE)
    prong = tf.argmax(tf.cast(is_far, tf.int32), axis=1)[:, None]
    prong_across, prong_along = (
        tf.gather(values, prong, batch_dims=1) for values in (across, along)
    )
    has_prong = tf.reduce_any(is_far, axis=1, keepdims=True)
    length = tf.sqrt(tf.square(prong_across) + tf.square(prong_along))
    length = tf.maximum(length, _NOTHING_GEV)
    cos_angle = tf.where(has_prong, -prong_across / length, 1.0)  # of atan2(across, along) + pi/2
    sin_angle = tf.where(has_prong, prong_along / length, 0.0)
    turned_across = cos_angle * across - sin_angle * along
    turned_along = sin_angle * across + cos_angle * along
    tanh = turned_along / tf.sqrt(
        tf.square(cosine) + tf.square(turned_across) + tf.square(turned_along)
    )
    balance = tf.reduce_sum(tf.where(is_real, tf.sign(x) * particles.pt, 0.0), axis=1)
    return tf.where(balance[:, None] < 0, -tanh, tanh)
