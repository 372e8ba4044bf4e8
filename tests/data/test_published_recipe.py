"""Acceptance: simulated jets have the distributions of the published HLS4ML jets.

The published numbers were read off the plots of the data's author, to a few percent.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.data.simulation.blocks import BlockRequest, make_block
from ucluster_tune.data.simulation.settings import SimulationSettings

SAMPLE = Path(__file__).parents[2] / "search_spaces" / "data" / "wzt_sample"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PT_GEV = {
    "g": (864, 1026, 1112, 1246, 1560),
    "q": (882, 978, 1006, 1037, 1173),
    "z": (972, 1000, 1019, 1049, 1152),
    "t": (851, 940, 982, 1025, 1145),
}
MASS_GEV = {
    "g": (40, 61, 84, 122, 199),
    "q": (22, 33, 46, 68, 136),
    "t": (79, 117, 159, 173, 184),
}
MULTIPLICITY = {"g": 70.3, "q": 40.3, "w": 40.6, "z": 41.4, "t": 65.7}
N_JETS = 400  # of gluons and light quarks, made here


def tolerances(name):
    """Of each quantile; the ends are the worst to read off a plot, gluons' most of all."""
    end = 0.15 if name == "g" else 0.10
    return (end, 0.07, 0.07, 0.07, end)


def assert_near(found, published, name):
    for value, expected, tolerance in zip(found, published, tolerances(name), strict=True):
        assert value == pytest.approx(expected, rel=tolerance)


@pytest.fixture(scope="module")
def sample():
    """Mass and pt of the jets of the committed sample, by class."""
    tables = [pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))]
    found = {}
    for name in ("w", "z", "t"):
        mass, pt = [], []
        for table in tables:
            is_class = np.array(table["jet_class"].to_pylist()) == name
            mass.append(table["mass_gev"].to_numpy()[is_class])
            first, relative = (
                np.array([values[0] for values in table[column].to_pylist()])[is_class]
                for column in ("ln_pt", "ln_pt_rel")
            )
            pt.append(np.exp(first - relative))
        found[name] = np.concatenate(mass), np.concatenate(pt)
    return found


@pytest.mark.parametrize("name", ["z", "t"])
def test_pt_of_the_committed_jets_is_as_published(sample, name):
    assert_near(np.quantile(sample[name][1], QUANTILES), PT_GEV[name], name)


def test_tops_are_contained_as_often_as_published(sample):
    mass, _ = sample["t"]
    assert_near(np.quantile(mass, QUANTILES), MASS_GEV["t"], "t")
    shares = [(mass < 100).mean(), ((mass >= 100) & (mass <= 150)).mean(), (mass > 150).mean()]
    assert shares == pytest.approx([0.176, 0.249, 0.575], abs=0.04)


def test_w_and_z_peak_at_their_masses(sample):
    for name, mass_gev in (("w", 80.4), ("z", 91.2)):
        assert np.median(sample[name][0]) == pytest.approx(mass_gev, rel=0.015)


@pytest.mark.parametrize("name", ["w", "z", "t"])
def test_multiplicity_of_the_committed_jets_is_as_published(name):
    found = read_manifest(SAMPLE).settings["mean_multiplicity"]
    assert isinstance(found, dict)
    assert found[name] == pytest.approx(MULTIPLICITY[name], rel=0.07)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("pythia8mc") is None or find_spec("fastjet") is None,
    reason="Pythia 8 and FastJet are not installed: uv sync --extra simulate",
)
@pytest.mark.parametrize("name", ["g", "q"])
def test_gluons_and_light_quarks_are_as_published(name):
    block = make_block(BlockRequest(name, 0, N_JETS, 1, SimulationSettings()))
    first = np.cumsum(block.n_constituents) - block.n_constituents
    pt = np.exp(block.features[first, 6] - block.features[first, 2])
    assert_near(np.quantile(pt, QUANTILES), PT_GEV[name], name)
    assert_near(np.quantile(block.mass_gev, QUANTILES), MASS_GEV[name], name)
    assert block.multiplicity.mean() == pytest.approx(MULTIPLICITY[name], rel=0.07)
