"""The definitions of the features, held to arrays that were fed to the published code."""

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
    cos_theta_rel,
    jet_masses,
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


def features_of(momenta):
    """The features of one jet, the sum of these momenta."""
    return constituent_features(
        momenta, momenta.sum(axis=0, keepdims=True), np.array([len(momenta)])
    )


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


def test_features_are_those_of_the_reference_jets(reference_jets):
    """All but the last one, for which those jets hold a cosine to the jet's axis."""
    constituents, masses = reference_jets
    for padded, mass in zip(constituents, masses, strict=True):
        jet = padded[feature(padded, "ln_pt") != 0]
        momenta = massless_momenta(
            np.exp(feature(jet, "ln_pt")),
            recovered_jet_eta(jet) + feature(jet, "eta_rel"),
            feature(jet, "phi_rel"),
        )
        total = momenta.sum(axis=0)
        assert np.abs(features_of(momenta) - jet)[:, :-1].max() < 3e-6
        assert jet_masses(total[None])[0] == pytest.approx(mass, abs=0.01)


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
    assert np.allclose(features_of(turned), features_of(straight), atol=1e-6)


def test_phi_rel_is_wrapped_across_the_seam():
    momenta = massless_momenta(np.array([4.0, 1.0]), np.zeros(2), np.array([3.1, -3.1]))
    phi_rel = feature(features_of(momenta), "phi_rel")
    assert np.abs(phi_rel).max() < 0.1


def test_wrapped_angles_lie_in_the_half_open_circle():
    wrapped = wrap_angle(np.array([-np.pi, np.pi, 3 * np.pi, -1e-20, 7.0]))
    assert (wrapped > -np.pi).all()
    assert (wrapped <= np.pi).all()
    assert wrapped[:2].tolist() == [np.pi, np.pi]


def test_a_lone_constituent_is_its_jet():
    momenta = massless_momenta(np.array([20.0]), np.array([1.0]), np.array([2.0]))
    alone = features_of(momenta)[0]
    assert alone.dtype == np.float32
    assert alone == pytest.approx(
        [0, 0, 0, 0, np.log(20 * np.cosh(1.0)), 0, np.log(20), 0], abs=1e-6
    )


def test_mass_of_a_massless_momentum_is_zero():
    assert jet_masses(massless_momenta(np.array([7.0]), np.array([2.1]), np.array([0.3]))) < 1e-6


def image_coordinate(pt, eta, phi):
    """The last feature of one jet, constituent by constituent, as the recipe has it in words."""
    x, y = eta - eta[0], (phi - phi[0] + np.pi) % (2 * np.pi) - np.pi
    far = [i for i in range(len(pt)) if np.hypot(x[i], y[i]) > 0.1]
    angle = 0.0
    if far:
        second = max(far, key=lambda i: pt[i])
        angle = np.arctan2(pt[second] * np.sin(y[second]), pt[second] * np.sinh(x[second]))
        angle += np.pi / 2
    sign = -1 if pt[x < 0].sum() > pt[x > 0].sum() else 1
    values = []
    for w, x_i, y_i in zip(pt, x, y, strict=True):
        px, py, pz = w * np.cos(y_i), w * np.sin(y_i), w * np.sinh(x_i)
        c, s = np.cos(angle), np.sin(angle)
        py, pz = c * py - s * pz, s * py + c * pz
        values.append(sign * np.tanh(np.arcsinh(pz / np.hypot(px, py))))
    return values


def test_cos_theta_rel_is_the_turned_coordinate_of_each_jets_image():
    generator = np.random.default_rng(3)
    counts = np.array([1, 30, 2, 100, 7])
    pt, eta, phi = [], [], []
    for count in counts:
        pt.append(np.sort(generator.exponential(10.0, count))[::-1])
        eta.append(generator.normal(1.0, 0.15, count))
        phi.append(generator.normal(3.1, 0.15, count))  # across the seam
    phi[2][:] = eta[2][:] = 0.03  # no constituent far from the leading one
    found = cos_theta_rel(np.concatenate(pt), np.concatenate(eta), np.concatenate(phi), counts)
    expected = np.concatenate([image_coordinate(*jet) for jet in zip(pt, eta, phi, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found).max() > 0.2


def test_cos_theta_rel_vanishes_along_the_line_through_both_prongs():
    pt, x = np.array([50.0, 30.0, 1.0]), np.array([0.0, 0.3, 0.6])
    for turn in (0.0, 0.7, 2.0, -1.2):
        eta, phi = np.arcsinh(x * np.cos(turn)), np.arcsin(x * np.sin(turn))
        assert np.abs(cos_theta_rel(pt, eta, phi, np.array([3]))).max() < 1e-12


def test_features_of_several_jets_are_those_of_each_alone():
    momenta = massless_momenta(
        np.array([5.0, 3.0, 1.0, 9.0, 2.0]), np.linspace(0, 1, 5), np.linspace(-3, 3.1, 5)
    )
    jets = np.stack([momenta[:3].sum(axis=0), momenta[3:].sum(axis=0)])
    together = constituent_features(momenta, jets, np.array([3, 2]))
    alone = np.concatenate([features_of(momenta[:3]), features_of(momenta[3:])])
    np.testing.assert_array_equal(together, alone)


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(features).failed == 0
