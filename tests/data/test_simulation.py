"""Simulated jets: the physics at the level of a few jets, and that a seed decides all."""

import doctest
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest

from ucluster_tune.data.format.features import (
    CLASS_NAMES,
    cylindrical,
    massless_momenta,
)
from ucluster_tune.data.simulation import blocks, collisions, emulation, splits
from ucluster_tune.data.simulation.blocks import BlockRequest, JetBlock, make_block, make_blocks
from ucluster_tune.data.simulation.collisions import (
    collide,
    load_generator_library,
    make_hard_processes,
)
from ucluster_tune.data.simulation.emulation import (
    CHARGED_HADRON,
    LEPTON,
    NEUTRAL_HADRON,
    PHOTON,
    Particles,
    emulate,
)
from ucluster_tune.data.simulation.jets import JetFinder
from ucluster_tune.data.simulation.settings import MASSES_GEV, Emulation, SimulationSettings
from ucluster_tune.errors import DataError, MachineError

pytestmark = pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="Pythia 8 and FastJet are not installed: uv sync --extra simulate",
)

FAST = SimulationSettings(multiparton_interactions=False)
NO_JETS = SimulationSettings(
    multiparton_interactions=False,
    parton_pt_min_gev=150,
    parton_pt_max_gev=160,
    jet_pt_min_gev=500,
)


def particles(kind, pt, eta, phi):
    momenta = massless_momenta(np.array(pt), np.array(eta), np.array(phi))
    return Particles(np.broadcast_to(kind, len(pt)).astype(np.int8), momenta)


def measured(seen, smearing_scale=0.0, seed=1):
    generator = np.random.default_rng(seed)
    return emulate(
        seen, Emulation(), max_abs_eta=3.0, smearing_scale=smearing_scale, generator=generator
    )


def request(class_name="w", index=0, n_jets=3, seed=5, settings=FAST):
    return BlockRequest(class_name, index, n_jets, seed, settings)


def same(first, second):
    return (
        first.class_name == second.class_name
        and np.array_equal(first.mass_gev, second.mass_gev)
        and np.array_equal(first.n_constituents, second.n_constituents)
        and np.array_equal(first.features, second.features)
    )


# emulation


@pytest.mark.parametrize(
    ("kind", "pt", "expected"),
    [
        (CHARGED_HADRON, 100.0, np.hypot(0.00025 * 100, 0.015)),
        (LEPTON, 400.0, np.hypot(0.00025 * 400, 0.015)),
        (PHOTON, 20.0, np.sqrt(0.027**2 / (20 / 1.6) + (0.24 / 20) ** 2 + 0.005**2)),
        (NEUTRAL_HADRON, 200.0, np.sqrt(1.2**2 / (200 / 7) + 0.05**2)),
        (CHARGED_HADRON, 300.0, np.sqrt(1.2**2 / (300 / 7) + 0.05**2)),  # no track
    ],
)
def test_errors_have_the_documented_size_for_each_kind_of_particle(kind, pt, expected):
    n_particles = 1200
    phi = np.repeat(np.linspace(-3.1, 3.1, 300), 4)
    eta = np.tile(np.array([0.0025, 0.0325, 0.0625, 0.0925]), 300)  # each in a cell of its own
    seen = particles(kind, np.full(n_particles, pt), eta, phi)
    exact = measured(seen)
    assert len(exact) == n_particles
    for scale in (0.5, 1.0):
        ratio = measured(seen, scale)[:, 3] / exact[:, 3]
        assert np.std(ratio - 1) == pytest.approx(scale * expected, rel=0.1)
        assert np.mean(ratio) == pytest.approx(1.0, abs=0.1 * expected)


def test_tracks_keep_direction_and_mass():
    momentum = np.array([[3.0, 4.0, 12.0, 20.0]])
    track = Particles(np.array([CHARGED_HADRON], np.int8), momentum)
    ratio = measured(track, 1.0) / momentum
    assert ratio == pytest.approx(np.full((1, 4), ratio[0, 0]))
    assert ratio[0, 0] != 1.0


def test_a_cell_adds_up_energies_and_points_to_its_centre():
    eta, phi = np.array([0.0011, 0.0039, 0.0061]), np.full(3, 0.0051)
    seen = particles(PHOTON, [1.0, 2.0, 4.0], eta, phi)
    cells = measured(seen)
    assert cells[:, 3] == pytest.approx(
        [np.cosh(0.0011) + 2 * np.cosh(0.0039), 4 * np.cosh(0.0061)], rel=1e-9
    )
    pt, cell_eta, cell_phi = cylindrical(cells)
    assert cell_eta == pytest.approx([0.0025, 0.0075])
    assert np.abs(cell_phi - 0.0051).max() < 0.0026
    assert pt * np.cosh(cell_eta) == pytest.approx(cells[:, 3])  # massless
    coarse = measured(particles(NEUTRAL_HADRON, [1.0, 2.0, 4.0], eta, phi))
    assert len(coarse) == 1


def test_charged_hadrons_above_the_threshold_are_cells_and_leptons_never():
    eta, phi = np.array([0.0011]), np.array([0.0051])
    for kind, pt, is_track in (
        (CHARGED_HADRON, 219.0, True),
        (CHARGED_HADRON, 221.0, False),
        (LEPTON, 900.0, True),
        (NEUTRAL_HADRON, 1.0, False),
    ):
        _, found, _ = cylindrical(measured(particles(kind, [pt], eta, phi)))
        assert (abs(found[0] - 0.0011) < 1e-9) == is_track


def test_nothing_is_seen_beyond_the_calorimeters():
    for kind in (CHARGED_HADRON, LEPTON, PHOTON, NEUTRAL_HADRON):
        seen = measured(particles(kind, [10.0, 10.0], [2.99, 3.01], [0.0, 1.0]))
        assert len(seen) == 1


def test_errors_turn_no_momentum_around():
    soft = particles(PHOTON, np.full(500, 0.01), np.zeros(500), np.linspace(-3, 3, 500))
    assert (measured(soft, 1.0)[:, 3] > 0).all()


# precision


def test_rounding_is_as_fine_as_the_bits_say():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for n_bits in (8, 12, 20):
        rounded = blocks.round_significand(values, n_bits)
        error = np.abs(rounded / values - 1).max()
        assert 2.0 ** -(n_bits + 2) < error <= 2.0**-n_bits
        assert len(np.unique(rounded.view(np.uint32) % 2 ** (24 - n_bits))) == 1
    assert np.array_equal(blocks.round_significand(values, 24), values)


def test_zero_stays_zero():
    assert not blocks.round_significand(np.zeros(3, dtype=np.float32), 12).any()


# jets


def test_the_leading_jet_is_found_with_all_its_constituents():
    pt, eta, phi = [300.0, 200.0, 450.0, 0.1], [0.0, 0.3, 0.2, 0.1], [0.0, 0.1, 2.0, 0.0]
    momenta = massless_momenta(np.array(pt), np.array(eta), np.array(phi))
    jet = JetFinder(FAST).find(momenta)
    assert jet is not None
    assert jet.momentum == pytest.approx(momenta[[0, 1, 3]].sum(axis=0))
    assert jet.multiplicity == 3
    assert jet.constituents == pytest.approx(momenta[[0, 1]])  # 0.1 GeV is not stored


def test_the_radius_decides_what_belongs_to_a_jet():
    momenta = massless_momenta(np.array([300.0, 200.0]), np.array([0.0, 0.5]), np.zeros(2))
    for radius, multiplicity in ((0.4, 1), (0.8, 2)):
        jet = JetFinder(replace(FAST, jet_radius=radius)).find(momenta)
        assert jet is not None
        assert jet.multiplicity == multiplicity


def test_a_hundred_leading_constituents_are_kept_of_the_whole_jet():
    pt, phi = np.linspace(1.0, 50.0, 150), np.linspace(-0.2, 0.2, 150)
    jet = JetFinder(FAST).find(massless_momenta(pt, np.zeros(150), phi))
    assert jet is not None
    assert jet.multiplicity == 150
    assert np.hypot(*jet.constituents.T[:2]) == pytest.approx(pt[::-1][:100])
    assert jet.momentum[0] == pytest.approx((pt * np.cos(phi)).sum())


def test_events_without_a_jet_give_none():
    assert JetFinder(FAST).find(np.array([[50.0, 0.0, 0.0, 50.0]])) is None


def test_finder_prints_nothing(capfd):
    JetFinder(FAST)
    assert capfd.readouterr() == ("", "")


# collisions


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_each_class_gives_jets_in_the_expected_range(class_name):
    block = make_block(request(class_name, n_jets=6))
    assert block.n_constituents.min() >= 4
    assert block.n_constituents.max() <= 100
    assert (block.multiplicity >= block.n_constituents).all()
    pt_jet = np.exp(block.features[:, 6] - block.features[:, 2])
    assert pt_jet.min() > 300
    assert pt_jet.max() < 3000
    assert (np.exp(block.features[:, 6]) >= 0.2499).all()
    assert np.abs(block.features[:, 7]).max() < 0.9
    if class_name in "wzt":
        masses = {"w": 80, "z": 91, "t": 150}
        assert np.median(block.mass_gev) == pytest.approx(masses[class_name], rel=0.35)


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_hard_processes_have_the_wanted_particles_in_the_window(class_name):
    processes = make_hard_processes(class_name, FAST, 3)
    for hard_process, _ in zip(processes, range(5), strict=False):
        outgoing = hard_process.particles[2:]
        assert {abs(number) for number, *_ in outgoing} <= set(collisions.ORIGINS[class_name])
        for number, status, *_, px, py, _pz, _energy, mass in outgoing:
            assert status == 1
            assert np.hypot(px, py) == pytest.approx(hard_process.scale_gev)
            if abs(number) in MASSES_GEV:
                assert mass == pytest.approx(MASSES_GEV[abs(int(number))], abs=1e-3)
        assert hard_process.scale_gev > 990  # Pythia's window is one of massless kinematics
        assert hard_process.scale_gev < 1010 or class_name == "g"


def test_off_shell_masses_are_spread():
    processes = make_hard_processes("z", replace(FAST, on_shell=False), 3)
    masses = [next(processes).particles[2][-1] for _ in range(20)]
    assert np.std(masses) > 0.5


class FakeParticle:
    """As much of Pythia's particle as is read."""

    def __init__(self, number):
        self._number = number

    def __getattr__(self, name):
        values = {"id": self._number, "col": 0, "acol": 0}
        return lambda: values.get(name, 10.0)


class FakePythia:
    """A Pythia that makes the same event over and over, or fails; both Pythias are one."""

    LHAup = object

    def __init__(self, origins=(6, -6), refuses="", starts=True, collides=True):
        self._refuses, self._starts, self._collides = refuses, starts, collides
        self.process = [FakeParticle(number) for number in (0, 0, 0, 1, 2, *origins)]
        particles = [(211, 1), (12, 1), (22, 1), (130, 1), (-211, -1), (-13, 1)]
        momentum = dict.fromkeys(("px", "py", "pz", "e"), 10.0)
        self.event = [{"id": number, "status": s, "p": momentum} for number, s in particles]

    def Pythia(self, *arguments):  # noqa: N802 - Pythia's name
        return self

    def setLHAupPtr(self, feed):  # noqa: N802 - Pythia's name
        self.feed = feed

    def readString(self, line):  # noqa: N802 - Pythia's name
        return line != self._refuses

    def init(self):
        return self._starts

    def next(self):
        return True

    def nextBatch(self, n_events, error_mode):  # noqa: N802 - Pythia's name
        assert error_mode == "skip"
        awkward = load_generator_library("awkward")
        events = awkward.Array([self.event] * n_events)
        return awkward.Array({"prt": events if self._collides else events[:0]})


@pytest.fixture
def use_fake_pythia(monkeypatch):
    """Puts a fake in Pythia's place."""
    return lambda fake: monkeypatch.setitem(sys.modules, "pythia8mc", fake)


def test_neutrinos_and_what_decayed_are_not_seen(use_fake_pythia):
    use_fake_pythia(FakePythia())
    first, seen = islice(collide("t", FAST, 7, 8), 2)
    assert seen.kind.tolist() == first.kind.tolist()
    assert seen.kind.tolist() == [CHARGED_HADRON, PHOTON, NEUTRAL_HADRON, LEPTON]
    assert seen.momenta.shape == (4, 4)


def test_heavy_quarks_are_not_taken_for_light_ones(use_fake_pythia, monkeypatch):
    monkeypatch.setattr(collisions, "_MAX_TRIES", 20)
    use_fake_pythia(FakePythia((5, -3)))
    with pytest.raises(MachineError, match=r"no hard process of class 'q' in 20 tries"):
        next(make_hard_processes("q", FAST, 1))
    use_fake_pythia(FakePythia((1, -3)))
    assert next(make_hard_processes("q", FAST, 1)).particles[3][:4] == (-3, 1, 1, 2)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"refuses": "PartonLevel:MPI = off"}, "refuses the setting 'PartonLevel:MPI = off'"),
        ({"starts": False}, "does not start for class 't'"),
        ({"collides": False}, "failed 120 times in a row for class 't'; try another --seed"),
    ],
)
def test_failures_of_pythia_are_named(use_fake_pythia, fault, message):
    use_fake_pythia(FakePythia(**fault))
    with pytest.raises(MachineError, match=message):
        next(collide("t", FAST, 7, 8))


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
    with pytest.raises(DataError, match="leave next to nothing; lower --min-pt, or raise"):
        make_block(request(n_jets=1, settings=NO_JETS))


# blocks


def test_a_block_depends_on_its_own_seed_alone():
    first = make_block(request())
    assert same(first, make_block(request()))
    longer = make_block(request(n_jets=4))
    assert np.array_equal(longer.mass_gev[:3], first.mass_gev)
    for other in (request(index=1), request(seed=6)):
        assert not np.isin(make_block(other).mass_gev, first.mass_gev).any()


def test_the_emulation_measures_the_same_collisions():
    """Where two jets have nearly the same pt, errors decide which one leads."""
    emulated = make_block(request(n_jets=7)).mass_gev
    exact = make_block(request(n_jets=7, settings=replace(FAST, emulation=False))).mass_gev
    assert not np.isin(emulated, exact).any()
    assert np.isclose(emulated, exact, rtol=0.2).sum() >= 4


@pytest.mark.slow
def test_jets_do_not_depend_on_the_number_of_processes():
    requests = [request(n_jets=2, index=index) for index in range(3)]
    counts: list[int] = []
    alone = make_blocks(requests, 1, counts.append)
    together = make_blocks(requests, 2, counts.append)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
    assert counts == [2] * 6


def test_errors_come_back_from_other_processes():
    requests = [request(n_jets=1, index=index, settings=NO_JETS) for index in range(2)]
    with pytest.raises(DataError, match="lower --min-pt"):
        make_blocks(requests, 2, lambda n_jets: None)


def test_blocks_cover_the_jets_asked_for():
    plan = blocks.plan_blocks(("w", "t"), 2100, 1, FAST)
    assert [(block.class_name, block.index, block.n_jets) for block in plan] == [
        ("w", 0, 1000),
        ("w", 1, 1000),
        ("w", 2, 100),
        ("t", 0, 1000),
        ("t", 1, 1000),
        ("t", 2, 100),
    ]


# splits


def numbered_blocks(n_jets):
    """Jets with one constituent and masses that number them: w from 0, t from 1000."""
    return [
        JetBlock(
            class_name=name,
            mass_gev=np.arange(n_jets, dtype=np.float32) + start,
            multiplicity=np.ones(n_jets, dtype=np.int64),
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


@pytest.mark.parametrize("module", [blocks, collisions, emulation, splits])
def test_examples_in_the_documentation_hold(module):
    assert doctest.testmod(module).failed == 0
