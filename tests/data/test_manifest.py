"""Manifests: what is read, what is refused, and that damage to files is found."""

import json

import numpy as np
import pytest

from ucluster_tune.data.format.manifest import read_manifest, verify_files
from ucluster_tune.data.format.schema import jets_table
from ucluster_tune.data.making.writer import write_dataset
from ucluster_tune.errors import DataError


@pytest.fixture
def dataset(tmp_path):
    """The folder of a data set with three jets to train on and one to test on."""
    features = np.linspace(0.1, 1, 64, dtype=np.float32).reshape(8, 8)
    train = jets_table(["w", "t", "w"], np.array([80, 170, 82]), np.array([2, 3, 3]), features)
    test = jets_table(["t"], np.array([171]), np.array([8]), features)
    folder = tmp_path / "jets"
    write_dataset(
        folder,
        {"train": train, "test": test},
        name="jets",
        source="a test",
        command="pytest",
        settings={"seed": 1},
    )
    return folder


def rewrite(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_manifest_comes_back_from_disk(dataset):
    manifest = read_manifest(dataset)
    assert manifest.classes == ("w", "t")
    assert manifest.counts == {"train": {"w": 2, "t": 1}, "test": {"w": 0, "t": 1}}
    assert manifest.n_jets("train") == 3
    assert manifest.n_jets("validation") == 0
    assert manifest.settings == {"seed": 1}
    verify_files(dataset, manifest)


def test_dataset_checksum_follows_the_jets_and_not_the_description(dataset):
    manifest = read_manifest(dataset)
    described = manifest.model_copy(update={"name": "other", "created": "later"})
    assert described.dataset_checksum == manifest.dataset_checksum
    file = manifest.files[0].model_copy(update={"sha256": "0" * 64})
    altered = manifest.model_copy(update={"files": (file, *manifest.files[1:])})
    assert altered.dataset_checksum != manifest.dataset_checksum


def test_files_are_reported_as_they_are_verified(dataset):
    seen: list[str] = []
    verify_files(dataset, read_manifest(dataset), seen.append)
    assert seen == ["train-00000.parquet", "test-00000.parquet"]


def test_missing_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"no such folder.*data simulate"):
        read_manifest(tmp_path / "nowhere")


def test_missing_manifest_is_named(dataset, tmp_path):
    (dataset / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no manifest\.json, though there are parquet files"):
        read_manifest(dataset)
    with pytest.raises(DataError, match=r"no manifest\.json.*data simulate"):
        read_manifest(tmp_path)


def test_empty_folder_is_called_empty(tmp_path):
    with pytest.raises(DataError, match="the folder is empty"):
        read_manifest(tmp_path)


def test_hdf5_is_told_how_to_become_a_data_set(tmp_path):
    file = tmp_path / "jetImage.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n and more")
    for path in (file, tmp_path):
        with pytest.raises(
            DataError, match=r"HDF5 file.*`ucluster-tune data convert SOURCE --out DIR`"
        ):
            read_manifest(path)


def test_another_file_is_no_data_set(tmp_path):
    path = tmp_path / "jets.csv"
    path.write_text("1,2\n")
    with pytest.raises(DataError, match="this is a file"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["{", "", "\x00", "\udcff"])
def test_broken_json_is_refused(dataset, text):
    (dataset / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json: not readable as JSON"):
        read_manifest(dataset)


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"format_version": "1"}', "null"])
def test_json_that_is_no_manifest_is_refused(dataset, text):
    (dataset / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="not a manifest of a data set"):
        read_manifest(dataset)


def test_newer_version_asks_for_an_upgrade_even_with_unknown_keys(dataset):
    rewrite(dataset, format_version=3, shards=[])
    with pytest.raises(DataError, match=r"format_version 3 is newer than 2.*upgrade"):
        read_manifest(dataset)


def test_jets_of_the_old_kind_are_told_with_the_way_out(dataset):
    rewrite(dataset, format_version=1, source="Pythia 8.317.2, FastJet 3.5.2.0")
    with pytest.raises(DataError, match=r"format_version 1: cos_theta_rel .*data simulate --out"):
        read_manifest(dataset)


def test_converted_jets_of_the_old_version_stay_readable(dataset):
    rewrite(dataset, format_version=1, source="HLS4ML LHC jets: hls4ml")
    assert read_manifest(dataset).format_version == 1


def test_unknown_and_wrong_keys_are_named(dataset):
    rewrite(dataset, flavour="strange")
    with pytest.raises(DataError, match="flavour"):
        read_manifest(dataset)
    rewrite(dataset, flavour=None, files=[{"path": "../../etc/passwd"}])
    with pytest.raises(DataError, match=r"files\.0\.path"):
        read_manifest(dataset)


def test_missing_file_is_found(dataset):
    (dataset / "test-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"test-00000\.parquet: missing.*copy the data set again"):
        verify_files(dataset, read_manifest(dataset))


def test_file_that_was_cut_short_is_found(dataset):
    path = dataset / "train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train-00000\.parquet: cut short"):
        verify_files(dataset, read_manifest(dataset))


def test_file_that_was_altered_is_found(dataset):
    path = dataset / "train-00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"train-00000\.parquet: altered.*make it again"):
        verify_files(dataset, read_manifest(dataset))
