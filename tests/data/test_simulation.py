"""Simulated jets: the physics at the level of a few jets, and that a seed decides all."""

import doctest
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from ucluster_tune.data.simulation.detector import CHARGED, NEUTRAL_HADRON, PHOTON, Particles

from ucluster_tune.data.format.features import CLASS_NAMES, FEATURE_NAMES, massless_momenta
from ucluster_tune.data.simulation import blocks, collisions, detector, precision, splits
from ucluster_tune.data.simulation.blocks import BlockRequest, JetBlock, make_block, make_blocks
from ucluster_tune.data.simulation.collisions import collide, load_generator_library
from ucluster_tune.data.simulation.jets import JetFinder
from ucluster_tune.data.simulation.settings import DetectorResolution, SimulationSettings
from ucluster_tune.errors import DataError, MachineError

pytestmark = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="Pythia 8 and FastJet are not installed: uv sync --extra simulate",
)

FAST = SimulationSettings(multiparton_interactions=False)


def particles(pt, eta, phi, kind=None):
    kinds = np.zeros(len(pt)) if kind is None else np.array(kind)
    return Particles(kinds.astype(np.int8), np.array(pt), np.array(eta), np.array(phi))


def request(class_name="w", index=0, n_jets=3, seed=5, settings=FAST):
    return BlockRequest(class_name, index, n_jets, seed, settings)


def same(first, second):
    return (
        first.class_name == second.class_name
        and np.array_equal(first.mass_gev, second.mass_gev)
        and np.array_equal(first.n_constituents, second.n_constituents)
        and np.array_equal(first.features, second.features)
    )


# detector


def test_smearing_has_the_documented_size_for_each_kind_of_particle():
    n_particles = 20_000
    generator = np.random.default_rng(1)
    for kind, expected, angle in (
        (CHARGED, np.hypot(0.01, 1.5e-4 * 50), 0.001),
        (PHOTON, np.sqrt(0.028**2 / 50 + (0.12 / 50) ** 2 + 0.003**2), 0.004),
        (NEUTRAL_HADRON, np.sqrt(1.1**2 / 50 + 0.09**2), 0.02),
    ):
        exact = particles(
            np.full(n_particles, 50.0),
            np.zeros(n_particles),
            np.zeros(n_particles),
            np.full(n_particles, kind),
        )
        smeared = detector.smear(exact, DetectorResolution(), generator)
        assert np.std(smeared.pt_gev / 50 - 1) == pytest.approx(expected, rel=0.03)
        assert np.std(smeared.eta) == pytest.approx(angle, rel=0.03)
        assert np.std(smeared.phi) == pytest.approx(angle, rel=0.03)
        assert np.mean(smeared.pt_gev) == pytest.approx(50, rel=0.01)


def test_energy_resolution_depends_on_energy_and_not_on_pt():
    forward = particles([10.0], [2.0], [0.0], [NEUTRAL_HADRON])
    energy = 10.0 * np.cosh(2.0)
    assert detector.relative_resolution(forward, DetectorResolution())[0] == pytest.approx(
        np.sqrt(1.1**2 / energy + 0.09**2)
    )


def test_particles_with_negative_energy_are_not_seen():
    soft = particles(np.full(1000, 0.1), np.zeros(1000), np.zeros(1000), np.full(1000, 2))
    smeared = detector.smear(soft, DetectorResolution(), np.random.default_rng(0))
    assert smeared.pt_gev.min() == 0
    assert (smeared.above(0.0).pt_gev > 0).all()


def test_particles_at_the_least_pt_are_seen():
    assert particles([0.5, 1.0, 2.0], np.zeros(3), np.zeros(3)).above(1.0).pt_gev.tolist() == [
        1.0,
        2.0,
    ]


# precision


def test_rounding_is_as_fine_as_the_bits_say():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for n_bits in (8, 12, 20):
        rounded = precision.round_significand(values, n_bits)
        error = np.abs(rounded / values - 1).max()
        assert 2.0 ** -(n_bits + 2) < error <= 2.0**-n_bits
        assert len(np.unique(rounded.view(np.uint32) % 2 ** (24 - n_bits))) == 1
    assert np.array_equal(precision.round_significand(values, 24), values)


def test_zero_stays_zero():
    assert not precision.round_significand(np.zeros(3, dtype=np.float32), 12).any()


def test_cos_theta_rel_keeps_small_angles_apart():
    features = np.zeros((3, 8), dtype=np.float32)
    features[:, -1] = [1.0, np.cos(0.01), np.cos(0.02)]
    rounded = precision.round_features(features, 12)[:, -1]
    assert np.arccos(rounded.astype(np.float64)) == pytest.approx([0, 0.01, 0.02], rel=2e-3)


# jets


def test_the_hardest_jet_near_its_origin_is_found():
    finder = JetFinder(FAST)
    pt = [300.0, 200.0, 400.0, 700.0]
    eta, phi = [0.0, 0.3, 0.2, 0.0], [0.0, 0.1, 2.0, -2.5]
    jet = finder.find(particles(pt, eta, phi), 0.1, 0.05)
    assert jet is not None
    assert np.exp(jet.features[:, 6]) == pytest.approx([300, 200], rel=1e-5)
    total = massless_momenta(np.array(pt), np.array(eta), np.array(phi))[:2].sum(axis=0)
    assert jet.mass_gev**2 == pytest.approx(total[3] ** 2 - (total[:3] ** 2).sum(), rel=1e-6)
    assert finder.find(particles(pt, eta, phi), 0.1, 1.2) is None


def test_matching_knows_that_azimuth_is_a_circle():
    finder = JetFinder(FAST)
    for phi in (3.1, -3.1):
        assert finder.find(particles([500.0], [0.0], [phi]), 0.0, -phi) is not None


def test_a_hundred_leading_constituents_are_kept_of_the_whole_jet():
    finder = JetFinder(FAST)
    pt = np.linspace(1.0, 50.0, 150)
    jet = finder.find(particles(pt, np.zeros(150), np.linspace(-0.2, 0.2, 150)), 0.0, 0.0)
    assert jet is not None
    assert np.exp(jet.features[:, 6]) == pytest.approx(pt[::-1][:100], rel=1e-5)
    all_of_it = pt * np.cos(np.linspace(-0.2, 0.2, 150))
    assert np.exp(jet.features[0, 6] - jet.features[0, 2]) == pytest.approx(
        all_of_it.sum(), rel=1e-2
    )


def test_finder_prints_nothing(capfd):
    JetFinder(FAST)
    assert capfd.readouterr() == ("", "")


# collisions


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_each_class_gives_jets_in_the_expected_range(class_name):
    block = make_block(request(class_name, n_jets=6))
    assert block.n_constituents.min() >= 5
    assert block.n_constituents.max() <= 100
    pt_jet = np.exp(block.features[:, 6] - block.features[:, 2])
    assert pt_jet.min() > 300
    assert pt_jet.max() < 1500
    assert block.features[:, FEATURE_NAMES.index("delta_r")].max() < 1.2
    assert (np.exp(block.features[:, 6]) >= 0.999).all()
    if class_name in "wzt":
        masses = {"w": 80, "z": 91, "t": 172}
        assert np.median(block.mass_gev) == pytest.approx(masses[class_name], rel=0.25)


class FakeParticle:
    """As much of Pythia's particle as is read."""

    def __init__(self, number, eta, final=True, last_copy=0):
        self._values = (number, eta, final, last_copy)

    def id(self):
        return self._values[0]

    def eta(self):
        return self._values[1]

    def isFinal(self):  # noqa: N802 - Pythia's name
        return self._values[2]

    def iBotCopyId(self):  # noqa: N802 - Pythia's name
        return self._values[3]

    def isVisible(self):  # noqa: N802 - Pythia's name
        return abs(self.id()) not in (12, 14, 16)

    def isCharged(self):  # noqa: N802 - Pythia's name
        return abs(self.id()) in (11, 211)

    def phi(self):
        return 0.0

    def pT(self):  # noqa: N802 - Pythia's name
        return 10.0


class FakePythia:
    """A Pythia that makes the same event over and over, or fails."""

    def __init__(self, origins, refuses="", starts=True, collides=True):
        self._refuses, self._starts, self._collides = refuses, starts, collides
        before = [FakeParticle(0, 0.0, final=False)] * 5
        outgoing = [FakeParticle(n, eta, final=False, last_copy=7) for n, eta in origins]
        finals = [(211, 0.1), (12, 0.2), (22, 0.3), (130, -2.9), (211, 3.1), (-14, 0.0)]
        last_copy = FakeParticle(origins[0][0], 0.7, final=False)
        self.event = [*before, *outgoing, last_copy, *(FakeParticle(*f) for f in finals)]

    def Pythia(self, *arguments):  # noqa: N802 - Pythia's name
        return self

    def readString(self, line):  # noqa: N802 - Pythia's name
        return line != self._refuses

    def init(self):
        return self._starts

    def next(self):
        return self._collides


@pytest.fixture
def use_fake_pythia(monkeypatch):
    """Puts a fake in Pythia's place."""
    return lambda fake: monkeypatch.setitem(sys.modules, "pythia8mc", fake)


def first_collision(class_name, seed=0):
    return next(collide(class_name, FAST, 7, np.random.default_rng(seed)))


def test_neutrinos_and_forward_particles_are_not_seen(use_fake_pythia):
    use_fake_pythia(FakePythia([(23, 0.4), (23, -0.4)]))
    seen = first_collision("z").particles
    assert seen.eta.tolist() == [0.1, 0.3, -2.9]
    assert seen.kind.tolist() == [CHARGED, PHOTON, NEUTRAL_HADRON]


def test_the_origin_is_the_last_copy_of_what_decays_and_the_parton_itself(use_fake_pythia):
    use_fake_pythia(FakePythia([(-24, 0.4), (24, 0.4)]))
    assert first_collision("w").origin_eta == 0.7
    use_fake_pythia(FakePythia([(1, 0.4), (1, 0.4)]))
    assert first_collision("q").origin_eta == 0.4


def test_heavy_quarks_are_not_taken_for_light_ones(use_fake_pythia):
    use_fake_pythia(FakePythia([(5, 0.5), (-3, 0.3)]))
    assert {first_collision("q", seed).origin_eta for seed in range(10)} == {0.3}


def test_both_outgoing_particles_are_taken_by_lot(use_fake_pythia):
    use_fake_pythia(FakePythia([(21, 0.5), (21, 0.3)]))
    assert {first_collision("g", seed).origin_eta for seed in range(10)} == {0.3, 0.5}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"refuses": "Top:gg2ttbar = on"}, "refuses the setting 'Top:gg2ttbar = on'"),
        ({"starts": False}, "does not start for class 't'"),
        ({"collides": False}, "failed 101 times in a row for class 't'; try another --seed"),
    ],
)
def test_failures_of_pythia_are_named(use_fake_pythia, fault, message):
    use_fake_pythia(FakePythia([(6, 0.0), (-6, 0.0)], **fault))
    with pytest.raises(MachineError, match=message):
        first_collision("t")


def test_constituents_are_stored_in_descending_pt():
    block = make_block(request("t"))
    starts = np.cumsum(block.n_constituents)[:-1]
    for ln_pt in np.split(block.features[:, 6], starts):
        assert (np.diff(ln_pt) <= 0).all()


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastjet", None)
    with pytest.raises(MachineError, match=r"fastjet is missing.*make install.*pip"):
        load_generator_library("fastjet")


def test_settings_that_leave_no_jets_are_an_error():
    blind = SimulationSettings(multiparton_interactions=False, min_pt_gev=1500.0)
    with pytest.raises(DataError, match="leave next to nothing; lower --min-pt"):
        make_block(request(n_jets=1, settings=blind))


# blocks


def test_a_block_depends_on_its_own_seed_alone():
    first = make_block(request())
    assert same(first, make_block(request()))
    longer = make_block(request(n_jets=4))
    assert np.array_equal(longer.mass_gev[:3], first.mass_gev)
    for other in (request(index=1), request(seed=6)):
        assert not np.isin(make_block(other).mass_gev, first.mass_gev).any()


def test_smearing_changes_measurements_of_the_same_collisions():
    smeared = make_block(request())
    exact = make_block(
        request(settings=SimulationSettings(multiparton_interactions=False, smearing=False))
    )
    assert not np.array_equal(smeared.mass_gev, exact.mass_gev)
    assert smeared.mass_gev == pytest.approx(exact.mass_gev, rel=0.2)


def test_jets_do_not_depend_on_the_number_of_processes():
    requests = [request(n_jets=2, index=index) for index in range(3)]
    counts: list[int] = []
    alone = make_blocks(requests, 1, counts.append)
    together = make_blocks(requests, 2, counts.append)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
    assert counts == [2] * 6


def test_errors_come_back_from_other_processes():
    blind = SimulationSettings(multiparton_interactions=False, min_pt_gev=1500.0)
    requests = [request(n_jets=1, index=index, settings=blind) for index in range(2)]
    with pytest.raises(DataError, match="lower --min-pt"):
        make_blocks(requests, 2, lambda n_jets: None)


def test_blocks_cover_the_jets_asked_for():
    plan = blocks.plan_blocks(("w", "t"), 600, 1, FAST)
    assert [(block.class_name, block.index, block.n_jets) for block in plan] == [
        ("w", 0, 250),
        ("w", 1, 250),
        ("w", 2, 100),
        ("t", 0, 250),
        ("t", 1, 250),
        ("t", 2, 100),
    ]


# splits


def numbered_blocks(n_jets):
    """Jets with one constituent and masses that number them: w from 0, t from 1000."""
    return [
        JetBlock(
            class_name=name,
            mass_gev=np.arange(n_jets, dtype=np.float32) + start,
            n_constituents=np.ones(n_jets, dtype=np.int64),
            features=np.full((n_jets, 8), start, dtype=np.float32),
        )
        for name, start in (("w", 0), ("t", 1000))
    ]


def test_each_class_is_dealt_out_in_the_same_shares_and_no_jet_twice():
    tables = splits.split_tables(numbered_blocks(100), (0.64, 0.16, 0.2), seed=1)
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 128,
        "validation": 32,
        "test": 40,
    }
    masses = np.concatenate([table["mass_gev"].to_numpy() for table in tables.values()])
    assert sorted(masses) == [*range(100), *range(1000, 1100)]
    for table in tables.values():
        classes = np.array(table["jet_class"].to_pylist())
        assert (classes == "w").sum() == (classes == "t").sum()
        assert ((table["mass_gev"].to_numpy() >= 1000) == (classes == "t")).all()


def test_classes_are_mixed_within_a_split():
    train = splits.split_tables(numbered_blocks(100), (0.64, 0.16, 0.2), seed=1)["train"]
    for start in range(0, 128, 32):
        assert set(train["jet_class"].slice(start, 32).to_pylist()) == {"w", "t"}


def test_the_seed_decides_which_jet_goes_where():
    def masses(seed):
        tables = splits.split_tables(numbered_blocks(100), (0.64, 0.16, 0.2), seed)
        return tables["train"]["mass_gev"].to_pylist()

    assert masses(1) == masses(1)
    assert set(masses(1)) != set(masses(2))


@pytest.mark.parametrize("module", [blocks, collisions, detector, precision, splits])
def test_examples_in_the_documentation_hold(module):
    assert doctest.testmod(module).failed == 0
