"""The definitions of the features, held to arrays made by the published code."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from ucluster_tune.data.format import features
from ucluster_tune.data.format.features import (
    FEATURE_NAMES,
    MAX_CONSTITUENTS,
    N_FEATURES,
    constituent_features,
    jet_mass,
    massless_momenta,
    wrap_angle,
)

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "inference.npz"


@pytest.fixture
def reference_jets():
    """[jet, constituent, feature] and [jet]: features and masses fed to the published network."""
    if not REFERENCE.is_file():
        pytest.skip("the reference data of the published code is not on this machine")
    with np.load(REFERENCE) as arrays:
        return arrays["constituents"].astype(np.float64), arrays["mass_gev"]


def feature(jet, name):
    return jet[..., FEATURE_NAMES.index(name)]


def recovered_jet_eta(jet):
    """The jet's pseudorapidity, from energy / pt = cosh(eta_jet + eta_rel) of its constituents."""
    ratio = np.exp(feature(jet, "ln_energy") - feature(jet, "ln_pt"))
    low, high = -3.0, 3.0
    for _ in range(6):
        grid = np.linspace(low, high, 601)
        errors = np.abs(np.cosh(grid[:, None] + feature(jet, "eta_rel")) / ratio - 1).mean(axis=1)
        best, step = grid[errors.argmin()], grid[1] - grid[0]
        low, high = best - 2 * step, best + 2 * step
    return best


def test_features_are_those_of_the_published_input(reference_jets):
    constituents, masses = reference_jets
    for padded, mass in zip(constituents, masses, strict=True):
        jet = padded[feature(padded, "ln_pt") != 0]
        momenta = massless_momenta(
            np.exp(feature(jet, "ln_pt")),
            recovered_jet_eta(jet) + feature(jet, "eta_rel"),
            feature(jet, "phi_rel"),
        )
        total = momenta.sum(axis=0)
        assert np.abs(constituent_features(momenta, total) - jet).max() < 3e-6
        assert jet_mass(total) == pytest.approx(mass, abs=0.01)


def test_constants_are_those_of_the_published_input():
    assert N_FEATURES == 8
    assert MAX_CONSTITUENTS == 100
    assert FEATURE_NAMES[0] == "eta_rel"
    assert FEATURE_NAMES[2] == "ln_pt_rel"
    assert FEATURE_NAMES[-1] == "cos_theta_rel"


@pytest.mark.parametrize("turn", [0.0, 1.5, np.pi, -np.pi, 3.0])
def test_features_do_not_depend_on_the_azimuth_of_the_jet(turn):
    pt = np.array([5.0, 3.0, 1.0])
    eta = np.array([0.3, 0.5, 0.1])
    phi = np.array([0.1, -0.2, 0.4])
    straight, turned = massless_momenta(pt, eta, phi), massless_momenta(pt, eta, phi + turn)
    expected = constituent_features(straight, straight.sum(axis=0))
    assert np.allclose(constituent_features(turned, turned.sum(axis=0)), expected, atol=1e-6)


def test_phi_rel_is_wrapped_across_the_seam():
    momenta = massless_momenta(np.array([4.0, 1.0]), np.zeros(2), np.array([3.1, -3.1]))
    phi_rel = feature(constituent_features(momenta, momenta.sum(axis=0)), "phi_rel")
    assert np.abs(phi_rel).max() < 0.1


def test_wrapped_angles_lie_in_the_half_open_circle():
    wrapped = wrap_angle(np.array([-np.pi, np.pi, 3 * np.pi, -1e-20, 7.0]))
    assert (wrapped > -np.pi).all()
    assert (wrapped <= np.pi).all()
    assert wrapped[:2].tolist() == [np.pi, np.pi]


def test_a_lone_constituent_is_its_jet():
    momenta = massless_momenta(np.array([20.0]), np.array([1.0]), np.array([2.0]))
    alone = constituent_features(momenta, momenta[0])[0]
    assert alone.dtype == np.float32
    assert alone == pytest.approx(
        [0, 0, 0, 0, np.log(20 * np.cosh(1.0)), 0, np.log(20), 1], abs=1e-6
    )


def test_mass_of_a_massless_momentum_is_zero():
    assert jet_mass(massless_momenta(np.array([7.0]), np.array([2.1]), np.array([0.3]))[0]) < 1e-6


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(features).failed == 0
