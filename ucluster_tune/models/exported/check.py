"""Whether an exported network gives what the trial's own network gives for the same jets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ucluster_tune.data.format.features import (
    FEATURE_NAMES,
    MAX_CONSTITUENTS,
    constituent_features,
    massless_momenta,
)
from ucluster_tune.data.format.packed import FloatArray, PackedJets, concatenate, pack_lists
from ucluster_tune.data.reading.jet_source import JetSource, chunks_of
from ucluster_tune.errors import ModelError
from ucluster_tune.models.prediction import Prediction

TOLERANCE: Final = 1e-5
"""Of the largest number of all jets; what single precision leaves of a network of this size."""

_LARGEST_SHARE_BEYOND: Final = 0.05
_N_JETS: Final = 256
_MADE_UP: Final = "made-up jets"
_ETA_REL, _PHI_REL, _LN_ENERGY, _LN_PT = (
    FEATURE_NAMES.index(name) for name in ("eta_rel", "phi_rel", "ln_energy", "ln_pt")
)

Found = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CheckedJets:
    """Jets to check an export with.

    Attributes:
        description: where they come from, in words.
        momenta: float32 [jet, MAX_CONSTITUENTS, 4], px py pz energy in GeV; padding is zero.
        of_momenta: their features, as a data set would hold them.
        stored: the same jets with the features of the data set; None of made-up jets.
    """

    description: str
    momenta: FloatArray
    of_momenta: PackedJets
    stored: PackedJets | None = None


@dataclass(frozen=True)
class ExportCheck:
    """How far the numbers of an export are from those of the trial's network.

    Attributes:
        jets: which ones, in words.
        n_jets: their number.
        departure: the median over jets of the largest departure, relative to the largest number.
        n_beyond: jets that depart by more than TOLERANCE. The network takes the nearest
            neighbours of each constituent; where two are equally far to rounding, another order
            of the same additions takes the other one.
        largest: the largest departure of these.
    """

    jets: str
    n_jets: int
    departure: float
    n_beyond: int
    largest: float


def jets_to_check(source: JetSource | None, description: str = _MADE_UP) -> CheckedJets:
    """Return the first jets of a source, called `description`, or made-up ones without a source.

    A data set tells no direction of a jet: it is taken at phi = 0, with the pseudorapidity that
    its hardest constituent would have without a mass.

    Raises:
        DataError: a jet cannot be read.
    """
    if source is None:
        momenta = _made_up_momenta(np.random.default_rng(1))
        return CheckedJets(_MADE_UP, momenta, _pack(momenta))
    parts: list[PackedJets] = []
    for chunk in chunks_of(source, _N_JETS):
        parts += source.read(chunk.blocks)
        if sum(map(len, parts)) >= _N_JETS:
            break
    jets = concatenate(parts)
    jets = jets.take(np.flatnonzero(jets.n_padded < MAX_CONSTITUENTS)[:_N_JETS])
    momenta = _momenta_of(jets)
    return CheckedJets(description, momenta, _pack(momenta), jets)


def padded_features(jets: PackedJets) -> FloatArray:
    """Return float32 [jet, MAX_CONSTITUENTS, feature]; padding is zero, behind the real ones."""
    dense = np.zeros((len(jets), MAX_CONSTITUENTS, jets.features.shape[1]), np.float32)
    jet, slot, row = _real_rows(jets)
    dense[jet, slot] = jets.features[row]
    return dense


def compare(pairs: list[tuple[Prediction, Found]], jets: str) -> ExportCheck:
    """Return how far exported networks are from their own, in all of some predictions.

    Args:
        pairs: what the trial's network and what the export says of the same jets.
        jets: which ones, in words.

    Raises:
        ModelError: they differ by more than rounding.
    """
    departures = []
    for own, found in pairs:
        parts = [
            _departure(own.embedding, found["embedding"]),
            _departure(own.distances, found["distances"]),
        ]
        departures.append(np.maximum(*parts))
        if np.any(found["cluster"] != np.argmin(found["distances"], axis=1)):
            raise ModelError("the exported network's clusters are not the nearest ones")
    departure = np.max(departures, axis=0)
    n_beyond = int(np.count_nonzero(~(departure <= TOLERANCE)))
    check = ExportCheck(
        jets, len(departure), float(np.median(departure)), n_beyond, float(np.max(departure))
    )
    if n_beyond > _LARGEST_SHARE_BEYOND * len(departure):
        raise ModelError(
            f"the exported network does not give what the trial's own gives: {n_beyond} of"
            f" {len(departure)} jets depart by more than {TOLERANCE:g} of the largest number, by"
            f" up to {check.largest:.2g}; nothing was written. That is a fault of this program or"
            " of the converter: try another --format, and report it"
        )
    return check


def _departure(own: FloatArray, found: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the largest departure of each jet, relative to the largest number of all."""
    scale = max(float(np.abs(own).max(initial=0.0)), 1e-30)
    return np.asarray(np.abs(found.astype(float) - own).max(axis=1) / scale)


def _real_rows(jets: PackedJets) -> tuple[Any, Any, Any]:
    """Return jet, slot and row of each real constituent."""
    n_real = MAX_CONSTITUENTS - jets.n_padded
    jet = np.repeat(np.arange(len(jets)), n_real)
    slot = np.arange(len(jet)) - np.repeat(np.cumsum(n_real) - n_real, n_real)
    return jet, slot, jets.first_rows[jet] + slot


def _momenta_of(jets: PackedJets) -> FloatArray:
    jet, slot, row = _real_rows(jets)
    features = jets.features[row].astype(float)
    hardest = jets.features[jets.first_rows].astype(float)
    ratio = np.exp(hardest[:, _LN_ENERGY] - hardest[:, _LN_PT])
    eta_of_jet = np.arccosh(np.maximum(ratio, 1.0)) - hardest[:, _ETA_REL]
    momenta = massless_momenta(
        np.exp(features[:, _LN_PT]), eta_of_jet[jet] + features[:, _ETA_REL], features[:, _PHI_REL]
    )
    momenta[:, 3] = np.exp(features[:, _LN_ENERGY])
    dense = np.zeros((len(jets), MAX_CONSTITUENTS, 4), np.float32)
    dense[jet, slot] = momenta
    return dense


def _made_up_momenta(generator: np.random.Generator) -> FloatArray:
    """Return jets of two prongs with pt near 1 TeV and as many constituents as jets have."""
    shape = (_N_JETS, MAX_CONSTITUENTS)
    pt_gev: npt.NDArray[np.float64] = -np.sort(-20.0 * generator.exponential(1.0, shape) ** 3)
    prong = generator.integers(0, 2, shape) * 0.2
    eta, phi = (generator.normal(prong, 0.05, shape) for _ in range(2))
    momenta = massless_momenta(pt_gev, eta, phi)
    n_real = generator.integers(5, MAX_CONSTITUENTS + 1, _N_JETS)
    momenta[np.arange(MAX_CONSTITUENTS) >= n_real[:, None]] = 0.0
    return np.asarray(momenta, np.float32)


def _pack(momenta: FloatArray) -> PackedJets:
    """Return jets of momenta [jet, constituent, 4] with the features that a data set has."""
    exact = momenta.astype(float)
    pt = np.hypot(exact[..., 0], exact[..., 1])
    order = np.argsort(-pt, axis=1, kind="stable")
    exact = np.take_along_axis(exact, order[..., np.newaxis], axis=1)
    is_real = np.take_along_axis(pt, order, axis=1) > 0
    n_real, jet_momenta = is_real.sum(axis=1), exact.sum(axis=1)
    features = constituent_features(exact[is_real], jet_momenta, n_real)
    mass_gev = np.zeros(len(momenta), np.float32)
    return pack_lists(features, n_real, mass_gev, np.full(len(momenta), -1))
