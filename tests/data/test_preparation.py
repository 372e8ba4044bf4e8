"""Jets that a configuration names are fetched and converted once."""

import threading
from pathlib import Path

import pytest
from filelock import FileLock

from tests.hls4ml_files import write_folder, write_tar
from tests.small_datasets import write_jets
from tests.zenodo_server import answers, local_zenodo
from ucluster_tune.config.trial import DataConfig
from ucluster_tune.data.format.manifest import MANIFEST_NAME, read_manifest
from ucluster_tune.data.making import dataset_copy
from ucluster_tune.data.making.preparation import (
    CACHE_VARIABLE,
    DATASETS_VARIABLE,
    cache_folder,
    plan_preparation,
    prepare,
    size_of,
)
from ucluster_tune.data.making.zenodo import ADDRESS_VARIABLE
from ucluster_tune.data.reading.dataset import open_checked_dataset
from ucluster_tune.errors import DataError, MachineError, UnreachableError
from ucluster_tune.storage.download import ServerPatience

QUICK = ServerPatience(tries=3, pause_s=0.001, longest_pause_s=0.01, timeout_s=2)
RECORD = "10.5281/zenodo.3602254"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(DATASETS_VARIABLE, raising=False)
    return folder


@pytest.fixture
def files(tmp_path):
    return write_folder(tmp_path / "files", n_jets=60)


@pytest.fixture
def zenodo(monkeypatch, files, tmp_path):
    archive = write_tar(tmp_path / "train.tar.gz", files)
    with local_zenodo({"train.tar.gz": archive.read_bytes()}) as server:
        monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
        yield server


def config(path, classes=("w", "z", "t")):
    return DataConfig(path=str(path), classes=classes)


def made(preparation):
    """Prepares; returns the conversion, and the tasks with the bytes told and counted."""
    tasks = {}

    def on_task(name, n_bytes):
        tasks[name] = [n_bytes, 0]

        def count(n_new):
            tasks[name][1] += n_new

        return count

    conversion = prepare(
        preparation,
        size_of(preparation, QUICK),
        command="a test",
        on_task=on_task,
        say=lambda line: None,
        patience=QUICK,
    )
    return conversion, tasks


def test_a_parquet_data_set_is_taken_as_it_is(tmp_path, cache):
    folder = write_jets(tmp_path / "jets")
    preparation = plan_preparation(config(folder))
    assert preparation.is_ready
    assert preparation.dataset == folder
    assert not cache.exists()


@pytest.mark.parametrize("name", ["nowhere", "empty", "text"])
def test_what_is_nothing_known_is_left_to_the_reader_to_refuse(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    preparation = plan_preparation(config(tmp_path / name))
    assert preparation.is_ready
    with pytest.raises(DataError, match=name):
        read_manifest(preparation.data_path)


def test_hdf5_files_are_converted_once(files, cache):
    preparation = plan_preparation(config(files))
    assert not preparation.is_ready
    assert f"HLS4ML files {files} will be converted to {cache}" in preparation.in_words()
    assert not cache.exists()
    size = size_of(preparation)
    assert size.n_bytes == sum(path.stat().st_size for path in files.iterdir())
    assert size.in_words().endswith("B of HLS4ML files are to be read")
    conversion, tasks = made(preparation)
    assert conversion.n_jets == 180
    assert tasks == {"converting jets": [size.n_bytes, size.n_bytes]}
    again = plan_preparation(config(files))
    assert again.is_ready
    assert again.dataset == preparation.dataset
    open_checked_dataset(config(again.dataset), world_size=2)


def test_changed_files_and_other_classes_are_converted_anew(files):
    made(plan_preparation(config(files)))
    assert not plan_preparation(config(files, ("w", "z"))).is_ready
    assert not plan_preparation(config(files, None)).is_ready
    assert plan_preparation(config(files, ("t", "z", "w"))).is_ready
    first = next(files.iterdir())
    first.write_bytes(first.read_bytes())
    assert not plan_preparation(config(files)).is_ready


def test_a_record_is_fetched_and_converted_once(zenodo, cache):
    preparation = plan_preparation(config(RECORD))
    assert not preparation.is_ready
    assert "Zenodo record 3602254 will be fetched into" in preparation.in_words()
    assert zenodo.requests == []  # a plan asks nobody
    size = size_of(preparation, QUICK)
    assert size.n_bytes == size.n_bytes_to_fetch == len(zenodo.files["train.tar.gz"])
    assert size.in_words().startswith("LHC jets, 1 file of ")
    conversion, tasks = made(preparation)
    assert conversion.manifest.source == f"HLS4ML LHC jets: doi:{RECORD}"
    assert set(tasks) == {"train.tar.gz", "converting jets"}
    assert all(told == counted for told, counted in tasks.values())
    zenodo.requests.clear()
    again = plan_preparation(config(f"https://zenodo.org/records/{RECORD[-7:]}"))
    assert again.is_ready
    assert zenodo.requests == []


def test_a_failure_in_between_is_gone_on_from(zenodo, cache):
    preparation = plan_preparation(config(RECORD))
    half = len(zenodo.files["train.tar.gz"]) // 2

    def breaks(handler, data):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:half])
        handler.close_connection = True

    zenodo.faults = [breaks, *[answers(503)] * 3]
    with pytest.raises(MachineError, match="goes on where it stopped"):
        made(preparation)
    assert not plan_preparation(config(RECORD)).is_ready
    assert size_of(preparation, QUICK).n_bytes_to_fetch < half + 70_000
    made(preparation)
    assert zenodo.ranges[-1] > 0
    assert plan_preparation(config(RECORD)).is_ready


def test_of_two_processes_one_converts_and_the_other_waits(files):
    preparation = plan_preparation(config(files))
    folder = Path(preparation.data_path).parent
    folder.mkdir(parents=True)
    said: list[str] = []
    results = []
    with FileLock(folder / ".lock"):
        thread = threading.Thread(
            target=lambda: results.append(
                prepare(
                    preparation,
                    size_of(preparation),
                    command="a test",
                    on_task=lambda name, n_bytes: lambda n_new: None,
                    say=said.append,
                )
            )
        )
        thread.start()
        while not said:
            assert thread.is_alive()
        write_jets(preparation.dataset)
    thread.join(30)
    assert results == [None]
    assert said == [f"Another process prepares {files}; waiting for it"]


def test_a_cache_that_cannot_be_written_is_an_error(files, cache, monkeypatch):
    cache.write_text("")
    with pytest.raises(MachineError, match=f"another folder for the cache with {CACHE_VARIABLE}"):
        made(plan_preparation(config(files)))


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "ucluster-tune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "ucluster-tune"


@pytest.fixture
def bucket(s3_server, monkeypatch):
    uri = f"{s3_server.make_bucket('jets')}/datasets"
    monkeypatch.setenv(DATASETS_VARIABLE, uri)
    return uri


def test_a_record_is_converted_into_a_bucket_once_for_all_machines(
    zenodo, bucket, cache, monkeypatch, tmp_path
):
    preparation = plan_preparation(config(RECORD))
    assert preparation.data_path == f"{bucket}/zenodo-3602254/jets-wzt"
    assert f"and moved to {preparation.data_path}" in preparation.in_words()
    conversion, tasks = made(preparation)
    assert conversion.n_jets == 180
    assert all(told == counted for told, counted in tasks.values())
    assert preparation.dataset is not None
    assert not preparation.dataset.exists()  # moved
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "of_another_machine"))
    zenodo.requests.clear()
    again = plan_preparation(config(RECORD))
    assert again.is_ready
    assert zenodo.requests == []
    dataset = open_checked_dataset(config(again.data_path), world_size=2)
    assert dataset.manifest == conversion.manifest
    assert not plan_preparation(config(RECORD, ("w", "z"))).is_ready


def test_a_bucket_that_breaks_off_is_gone_on_from_without_converting_again(
    files, bucket, s3_server, monkeypatch
):
    preparation = plan_preparation(config(files))
    copy = dataset_copy._copy

    def break_off(path, place, on_bytes):
        if path.name == MANIFEST_NAME:
            raise UnreachableError("the bucket is away")
        copy(path, place, on_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(dataset_copy, "_copy", break_off)
        with pytest.raises(UnreachableError):
            made(preparation)
    again = plan_preparation(config(files))
    assert not again.is_ready  # without the manifest it is no data set
    assert again.in_words() == f"{again.dataset} will be copied to {again.data_path}"
    conversion, tasks = made(again)
    assert conversion is None
    assert list(tasks) == [f"copying to {again.data_path}"]
    assert plan_preparation(config(files)).is_ready
    open_checked_dataset(config(again.data_path), world_size=2)


def test_a_data_set_of_the_cache_is_copied_and_stays(files, bucket, monkeypatch):
    with monkeypatch.context() as patch:
        patch.delenv(DATASETS_VARIABLE)
        made(plan_preparation(config(files)))
    preparation = plan_preparation(config(files))
    assert not preparation.is_ready
    assert size_of(preparation).in_words().endswith("B of parquet are to be copied")
    assert made(preparation)[0] is None
    assert preparation.dataset is not None
    assert preparation.dataset.exists()
    assert plan_preparation(config(files)).is_ready


def test_a_bucket_that_is_not_there_is_told_before_anything_is_fetched(
    zenodo, s3_server, monkeypatch
):
    monkeypatch.setenv(DATASETS_VARIABLE, "s3://nowhere/datasets")
    with pytest.raises(DataError, match="nowhere"):
        made(plan_preparation(config(RECORD)))
    assert not [path for path in zenodo.requests if "train" in path]


def test_data_sets_may_be_kept_in_a_folder_that_all_machines_see(
    zenodo, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv(DATASETS_VARIABLE, str(tmp_path / "shared"))
    preparation = plan_preparation(config(RECORD))
    assert preparation.data_path == str(tmp_path / "shared" / "zenodo-3602254" / "jets-wzt")
    assert preparation.files is not None
    assert preparation.files.is_relative_to(cache)  # fetched files are one machine's
    made(preparation)
    assert plan_preparation(config(RECORD)).is_ready
    (tmp_path / "text").write_text("")
    monkeypatch.setenv(DATASETS_VARIABLE, str(tmp_path / "text"))
    with pytest.raises(MachineError, match=f"folder for data sets with {DATASETS_VARIABLE}"):
        made(plan_preparation(config(RECORD)))
