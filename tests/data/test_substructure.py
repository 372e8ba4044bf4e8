"""Observables of jets against sums over pairs and triples, and against FastJet."""

from itertools import combinations
from math import hypot, pi

import numpy as np
import pytest

from tests.small_datasets import pack_padded
from ucluster_tune.data.format.features import FEATURE_NAMES, wrap_angle
from ucluster_tune.data.format.packed import concatenate
from ucluster_tune.data.format.substructure import OBSERVABLES, jet_observables

COLUMNS = [FEATURE_NAMES.index(name) for name in ("eta_rel", "phi_rel", "ln_pt_rel")]
# fastjet 3.5.2.0: exclusive_jets_energy_correlator(njets=1, beta=1, func=...) with c1, c2, d2
FASTJET = {"C1": 0.0971802652971902, "C2": 0.14322476089350697, "D2": 1.4738049999709981}
FIVE = (
    np.array([0.0, 0.1, -0.2, 0.05, 0.3]),
    np.array([0.0, 0.2, 0.1, -0.15, -0.05]),
    np.array([400.0, 250.0, 150.0, 120.0, 80.0]),
)


def jet_of(eta, phi, pt, mass_gev=100.0):
    """One jet, its constituents relative to nothing in particular."""
    features = np.zeros((1, 100, 8), np.float32)
    for column, values in zip(COLUMNS, (eta, phi, np.log(pt / 1000)), strict=True):
        features[0, : len(pt), column] = values
    return pack_padded(features, np.array([mass_gev]), np.array([0]))


def plain_observables(eta, phi, pt, mass_gev=100.0):
    """The same by their definitions."""
    z = pt / pt.sum()

    def distance(i, j):
        turn = abs(phi[i] - phi[j])
        return hypot(eta[i] - eta[j], min(turn, 2 * pi - turn))

    e2 = sum(z[i] * z[j] * distance(i, j) for i, j in combinations(range(len(z)), 2))
    e3 = sum(
        z[i] * z[j] * z[k] * distance(i, j) * distance(j, k) * distance(i, k)
        for i, j, k in combinations(range(len(z)), 3)
    )
    ratios = (e3 / e2**2, e3 / e2**3) if e2 else (0.0, 0.0)
    return [mass_gev, len(z), np.sum(z * np.log(z)), e2, *ratios]


def test_observables_are_those_of_fastjet():
    found = dict(zip(OBSERVABLES, jet_observables(jet_of(*FIVE))[0], strict=True))
    assert {name: found[name] for name in FASTJET} == pytest.approx(FASTJET, rel=1e-6)


def test_observables_are_the_sums_over_pairs_and_triples_whatever_stands_beside_a_jet():
    generator = np.random.default_rng(3)
    sizes = [1, 2, 40, 3, *generator.integers(2, 20, 35)]
    jets = [
        (
            generator.normal(0, 0.2, n),
            wrap_angle(np.pi + generator.normal(0, 0.2, n)),  # on both sides of the seam
            np.sort(generator.exponential(30, n) + 0.3)[::-1],
        )
        for n in sizes
    ]
    found = jet_observables(concatenate([jet_of(*jet) for jet in jets]))
    expected = [plain_observables(*jet) for jet in jets]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-9)


def test_constituents_in_one_place_have_ratios_of_zero():
    jet = jet_of(np.full(3, 0.1), np.full(3, 0.1), np.array([3.0, 2.0, 1.0]))
    assert jet_observables(jet)[0, 3:].tolist() == [0.0, 0.0, 0.0]
