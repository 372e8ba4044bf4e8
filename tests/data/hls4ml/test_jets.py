"""Features come from the columns of the HDF5 file, by name."""

import math

import h5py
import numpy as np
import pytest

from tests.hls4ml_files import made_up_file
from ucluster_tune.data.format.features import (
    CLASS_NAMES,
    FEATURE_NAMES,
    constituent_features,
)
from ucluster_tune.data.hls4ml.jets import NO_CLASS, constituent_lists, read_blocks
from ucluster_tune.errors import DataError


def read(path):
    """All jets of a file: masses, classes, counts and features."""
    blocks = list(read_blocks(path, str(path)))
    assert [block.start for block in blocks] == np.cumsum(
        [0, *(len(block) for block in blocks[:-1])]
    ).tolist()
    counts, features = constituent_lists(np.concatenate([block.columns for block in blocks]))
    masses = np.concatenate([block.mass_gev for block in blocks])
    classes = np.concatenate([block.class_index for block in blocks])
    return masses, classes, counts, features


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_are_those_of_the_columns_written_out_one_by_one(tmp_path, dtype):
    file = made_up_file(30, classes=("g", "q", "w", "z", "t", "undef"), dtype=dtype)
    masses, classes, counts, features = read(file.write(tmp_path / "jets.h5"))
    number = 0
    for jet in range(30):
        for slot in range(100):
            pt = float(file.column("j1_pt")[jet, slot])
            if pt == 0:
                continue
            expected = [
                float(file.column("j1_etarel")[jet, slot]),
                float(file.column("j1_phirel")[jet, slot]),
                math.log(file.column("j1_ptrel")[jet, slot]),
                float(file.column("j1_deltaR")[jet, slot]),
                math.log(file.column("j1_e")[jet, slot]),
                math.log(file.column("j1_erel")[jet, slot]),
                math.log(pt),
                float(file.column("j1_costhetarel")[jet, slot]),
            ]
            assert features[number] == pytest.approx(expected, rel=1e-7, abs=1e-30)
            number += 1
        assert masses[jet] == np.float32(file.jet_column("j_mass")[jet])
        names = ("g", "q", "w", "z", "t", None)
        index = classes[jet]
        assert (None if index == NO_CLASS else CLASS_NAMES[index]) == names[jet % 6]
    assert number == counts.sum() == len(features)
    assert features.dtype == np.float32


def test_features_agree_with_those_made_from_momenta(tmp_path):
    """A file whose columns are worked out from momenta gives what the simulation would store."""
    file = made_up_file(5)
    for jet in range(5):
        n_real = int((file.column("j1_pt")[jet] > 0).sum())
        names = ("j1_px", "j1_py", "j1_pz", "j1_e")
        momenta = np.stack([file.column(name)[jet, :n_real] for name in names], axis=1)
        momenta = momenta.astype(float)
        total = momenta.sum(axis=0)
        values = constituent_features(momenta, total[None], np.array([n_real]))
        for feature, column in (
            ("eta_rel", "j1_etarel"),
            ("phi_rel", "j1_phirel"),
            ("delta_r", "j1_deltaR"),
            ("cos_theta_rel", "j1_costhetarel"),
        ):
            file.column(column)[jet, :n_real] = values[:, FEATURE_NAMES.index(feature)]
        file.column("j1_ptrel")[jet, :n_real] = np.hypot(*momenta[:, :2].T) / np.hypot(*total[:2])
        file.column("j1_erel")[jet, :n_real] = momenta[:, 3] / total[3]
    _, _, counts, features = read(file.write(tmp_path / "jets.h5"))
    ends = np.cumsum(counts)
    for jet in range(5):
        n_real = counts[jet]
        momenta = np.stack(
            [file.column(f"j1_{name}")[jet, :n_real] for name in ("px", "py", "pz", "e")], axis=1
        ).astype(float)
        total = momenta.sum(axis=0, keepdims=True)
        expected = constituent_features(momenta, total, counts[jet : jet + 1])
        np.testing.assert_allclose(features[ends[jet] - n_real : ends[jet]], expected, atol=2e-6)


def test_columns_are_found_by_name_wherever_they_are(tmp_path):
    file = made_up_file(12)
    expected = read(file.write(tmp_path / "as_published.h5"))
    order = np.random.default_rng(1).permutation(16)
    file.constituents = file.constituents[:, :, order]
    file.constituent_names = [file.constituent_names[i] for i in order] + [b"j1_pdgid"]
    turned = np.random.default_rng(2).permutation(len(file.jet_names))
    file.jets, file.jet_names = file.jets[:, turned], [file.jet_names[i] for i in turned]
    for ours, theirs in zip(read(file.write(tmp_path / "other.h5")), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["fixed bytes", "variable bytes", "variable text"])
def test_names_may_be_bytes_or_text(tmp_path, kind):
    file = made_up_file(6)
    path = file.write(tmp_path / "jets.h5")
    expected = read(path)
    types = {
        "fixed bytes": "S20",
        "variable bytes": h5py.string_dtype("ascii"),
        "variable text": h5py.string_dtype("utf-8"),
    }
    with h5py.File(path, "a") as stored:
        for name, values in (
            ("jetFeatureNames", file.jet_names),
            ("particleFeatureNames", file.constituent_names),
        ):
            del stored[name]
            stored.create_dataset(name, data=values, dtype=types[kind])
    for ours, theirs in zip(read(path), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": True, "compression": "gzip"}, {"chunks": True, "compression": "lzf"}],
)
def test_the_way_of_packing_changes_nothing(tmp_path, options):
    file = made_up_file(10)
    for ours, theirs in zip(
        read(file.write(tmp_path / "packed.h5", **options)),
        read(file.write(tmp_path / "plain.h5")),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_constituents_are_sorted_and_the_hundred_leading_ones_kept(tmp_path):
    file = made_up_file(4, n_slots=150, max_constituents=150)
    file.constituents[0, :, :] = file.constituents[0, :1, :]  # a jet with 150 constituents
    file.column("j1_pt")[0] = np.arange(1, 151)
    _, _, counts, features = read(file.write(tmp_path / "jets.h5"))
    assert counts[0] == 100
    assert np.exp(features[:100, 6]) == pytest.approx(np.arange(150, 50, -1), rel=1e-6)


def test_padding_between_constituents_is_left_out(tmp_path):
    file = made_up_file(1)
    file.constituents[0, 1:, :] = 0
    file.constituents[0, 5, :] = 2 * file.constituents[0, 0, :]
    _, _, counts, features = read(file.write(tmp_path / "jets.h5"))
    assert counts.tolist() == [2]
    assert features[0, 6] == pytest.approx(features[1, 6] + math.log(2), abs=1e-6)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_value_without_a_logarithm_is_not_finite(value):
    columns = np.ones((1, 2, 8), np.float32)
    columns[0, 1, 6] = value
    counts, features = constituent_lists(columns)
    assert counts.tolist() == [2]
    assert not np.isfinite(features[:, 6]).all()


def test_files_without_truth_can_be_read(tmp_path):
    file = made_up_file(3)
    file.jet_names = [name.replace(b"j_", b"x_") for name in file.jet_names]
    file.jet_names[file.jet_names.index(b"x_mass")] = b"j_mass"
    _, classes, _, _ = read(file.write(tmp_path / "jets.h5"))
    assert classes.tolist() == [NO_CLASS] * 3


@pytest.mark.parametrize(
    "truth", [(0.5, 0, 0, 0, 0), (1, 1, 0, 0, 0), (np.nan, 0, 0, 0, 0), (2, -1, 0, 0, 0)]
)
def test_truth_that_is_not_one_class_is_an_error(tmp_path, truth):
    file = made_up_file(8)
    for name, value in zip(CLASS_NAMES, truth, strict=True):
        file.jet_column(f"j_{name}")[6] = value
    with pytest.raises(DataError, match=r"jets\.h5: the truth of jet 6 is .* for g, q, w, z, t"):
        read(file.write(tmp_path / "jets.h5"))


def test_reads_are_bounded_and_take_whole_chunks(tmp_path):
    path = made_up_file(6000, max_constituents=3).write(tmp_path / "jets.h5", chunks=True)
    with h5py.File(path) as file:
        chunk = file["jetConstituentList"].chunks[0]
    sizes = [len(block) for block in read_blocks(path, "jets")]
    assert sum(sizes) == 6000
    assert len(sizes) > 1
    assert {size % chunk for size in sizes[:-1]} == {0}
    assert max(sizes) * 100 * 16 * 4 <= 16 << 20
