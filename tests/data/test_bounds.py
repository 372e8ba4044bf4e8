"""What no jet can have is refused by every reader; what a real one may have is not."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from tests.hls4ml_files import made_up_file
from tests.small_datasets import made_up_jets, write_tables
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.bounds import FEATURE_BOUNDS, MASS_BOUNDS_GEV
from ucluster_tune.data.format.features import (
    FEATURE_NAMES,
    constituent_features,
    massless_momenta,
)
from ucluster_tune.data.format.schema import JET_CLASS, MASS_GEV, jets_table
from ucluster_tune.data.hls4ml.conversion import ConversionSettings, convert_dataset
from ucluster_tune.data.hls4ml.stream import open_hls4ml
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.data.reading.description import describe_dataset
from ucluster_tune.data.reading.jet_source import open_parquet
from ucluster_tune.data.reading.labels import all_labels
from ucluster_tune.data.reading.selection import Selection
from ucluster_tune.errors import DataError

EVERYTHING = ConversionSettings(Selection(-inf, inf, ("w", "z", "t")), (0.6, 0.2, 0.2), 1)
LEAVE_OUT = replace(EVERYTHING, max_bad_jets=1)


def changed_jets(n_jets=48, mass_gev=None, feature=None, value=0.0):
    """Jets of which number 30 has another value of its last constituent."""
    table = made_up_jets(n_jets)
    lists = np.array([np.concatenate(table[name].to_pylist()) for name in FEATURE_NAMES]).T
    counts = np.array([len(values) for values in table["eta_rel"].to_pylist()])
    if feature is not None:
        lists[counts[:31].sum() - 1, FEATURE_NAMES.index(feature)] = value
    masses = table[MASS_GEV].to_numpy().copy()
    if mass_gev is not None:
        masses[30] = mass_gev
    return jets_table(table[JET_CLASS].to_pylist(), masses, counts, lists)


def test_there_is_one_for_each_feature():
    assert tuple(FEATURE_BOUNDS) == FEATURE_NAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"feature": "eta_rel", "value": 1e30},
            r"eta_rel: jet 14 has .* 1e\+30, .* \[-100, 100\]",
        ),
        ({"feature": "phi_rel", "value": 45}, r"phi_rel: jet 14 has .* with 45, .* \[-10, 10\]"),
        ({"feature": "ln_pt", "value": -120}, r"ln_pt: jet 14 has a constituent with -120"),
        ({"feature": "cos_theta_rel", "value": 1.1}, "cos_theta_rel: jet 14 .* with 1.1, outside"),
        ({"mass_gev": -1}, r"jet 14 has a mass of -1 GeV, outside of \[-0.5, 100000\]; copy"),
        ({"mass_gev": 172e3}, r"a mass of 172000 GeV, .*: are masses and energies in MeV\?"),
    ],
)
def test_every_reader_of_parquet_names_jet_column_value_and_bound(tmp_path, change, message):
    """Jet 30 is number 14 of the second row group of 16."""
    tables = {"train": changed_jets(**change), "validation": made_up_jets(9)}
    folder = write_tables(tmp_path / "jets", tables | {"test": made_up_jets(9)})
    message = "row group 1, column .*" + message
    config = DataConfig(path=str(folder), mass_min_gev=0, mass_max_gev=1e9)
    with pytest.raises(DataError, match=message):
        open_checked_dataset(config, 1)
    (fault,) = describe_dataset(folder).faults
    with pytest.raises(DataError, match=message):
        raise DataError(fault)
    with pytest.raises(DataError, match=message):
        source = open_parquet(folder)
        all_labels(source)
        list(source.read(range(1, 2)))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("j1_etarel", 1e30, r"jet 7 has a constituent with j1_etarel = 1e\+30, outside of \[-100"),
        ("j1_costhetarel", -3, r"with j1_costhetarel = -3, outside of \[-1.01, 1.01\]"),
        ("j1_e", 1e60, r"with ln j1_e = 138.155, outside of \[-100, 100\]"),
    ],
)
def test_hdf5_with_an_absurd_value_is_refused_or_the_jet_left_out(
    tmp_path, column, value, message
):
    file = made_up_file(60, dtype=np.float64)
    file.column(column)[7, 0] = value
    path = file.write(tmp_path / "jets.h5")
    with pytest.raises(DataError, match=f"{message}.*--max-bad-jets N"):
        convert_dataset(path, tmp_path / "a", EVERYTHING, command="pytest")
    with pytest.raises(DataError, match=message):
        list(open_hls4ml(path, tmp_path).read(range(0, 1)))
    result = convert_dataset(path, tmp_path / "b", LEAVE_OUT, command="pytest")
    assert result.left_out == {"with values that no jet has": 1}


def test_an_absurd_mass_in_hdf5_is_refused_by_all_that_use_it(tmp_path):
    file = made_up_file(60)
    file.jet_column("j_mass")[7] = -5
    path = file.write(tmp_path / "jets.h5")
    message = r"jet 7 has a mass .*of -5 GeV, outside of \[-0.5, 100000\]"
    with pytest.raises(DataError, match=message):
        convert_dataset(path, tmp_path / "a", EVERYTHING, command="pytest")
    source = open_hls4ml(path, tmp_path)
    with pytest.raises(DataError, match=message):
        all_labels(source)
    assert len(list(source.read(range(0, 1)))) == 1  # a prediction needs no mass


def test_masses_in_mev_are_told(tmp_path):
    file = made_up_file(60, classes=("w", "z"))
    file.jet_column("j_mass")[:] *= 1000
    path = file.write(tmp_path / "jets.h5")
    settings = replace(EVERYTHING, selection=Selection(-inf, inf, ("w", "z")))
    result = convert_dataset(path, tmp_path / "jets", settings, command="pytest")
    (remark,) = result.remarks
    assert remark.startswith("60 of 60 jets have a mass above 10000 GeV: are masses and energies")
    assert describe_dataset(tmp_path / "jets").remarks == (remark,)
    with pytest.raises(DataError, match=r"200 GeV; widen .* jets have a mass above 10000 GeV"):
        open_checked_dataset(DataConfig(path=str(tmp_path / "jets")), 1)


def test_a_mass_that_rounding_makes_negative_is_kept_and_told(tmp_path):
    file = made_up_file(60)
    file.jet_column("j_mass")[7] = -1e-3
    path = file.write(tmp_path / "jets.h5")
    result = convert_dataset(path, tmp_path / "jets", EVERYTHING, command="pytest")
    assert sum(file.n_jets for file in result.manifest.files) == 60
    told = "1 jets have a mass just below 0, as rounding makes it; they are kept"
    assert result.remarks == (told,)
    assert describe_dataset(tmp_path / "jets").remarks == (told,)


def test_the_hardest_and_the_softest_constituents_of_any_collider_are_allowed():
    pt = np.array([5e4, 1e-6, 1e-3])
    momenta = massless_momenta(pt, np.array([0.0, 9.0, -12.0]), np.array([3.1, -3.1, 0.0]))
    features = constituent_features(momenta, momenta.sum(axis=0, keepdims=True), np.array([3]))
    for index, bounds in enumerate(FEATURE_BOUNDS.values()):
        assert bounds.hold(features[:, index])
    assert MASS_BOUNDS_GEV.hold(np.array([-0.3, 0.0, 2e4]))
