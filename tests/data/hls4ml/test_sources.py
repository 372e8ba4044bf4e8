"""HDF5 files are found in folders and archives, and archives do no harm."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.hls4ml_files import add_bytes, made_up_file, write_folder, write_tar
from ucluster_tune.data.hls4ml.sources import find_source_files, hdf5_files, is_source
from ucluster_tune.data.recognition import HDF5_SIGNATURE
from ucluster_tune.errors import DataError, MachineError


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "files", n_jets=4)


def names_and_bytes(source, tmp_path):
    """Name and content of each HDF5 file, and the bytes that were counted."""
    scratch = tmp_path / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    counted: list[int] = []
    found = [
        (file.name, file.path.read_bytes())
        for file in hdf5_files(find_source_files(source), scratch, counted.append)
    ]
    assert list(scratch.iterdir()) == []
    return found, sum(counted)


def refused(source, tmp_path, message, error=DataError):
    with pytest.raises(error, match=message) as caught:
        names_and_bytes(source, tmp_path)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "escaped.h5").exists()


def archive(path, *members, mode="w"):
    """An archive of made-up members: name, bytes, attributes."""
    with tarfile.open(path, mode) as tar:
        for name, data, attributes in members:
            add_bytes(tar, name, data, **attributes)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_gives_the_files_of_its_folder(folder, tmp_path, mode):
    expected, _ = names_and_bytes(folder, tmp_path)
    ending = mode.partition(":")[2]
    path = write_tar(tmp_path / f"jets.tar.{ending}".rstrip("."), folder, mode)
    found, n_bytes = names_and_bytes(path, tmp_path)
    assert found == expected
    assert [name for name, _ in found] == [f"jetImage_{i}_100p.h5" for i in range(3)]
    assert n_bytes == path.stat().st_size


def test_a_folder_of_archives_and_a_single_file(folder, tmp_path):
    expected, _ = names_and_bytes(folder, tmp_path)
    both = tmp_path / "both"
    both.mkdir()
    write_tar(both / "a_train.tar.gz", folder)
    write_tar(both / "b_val.tar.gz", folder, prefix="val")
    assert names_and_bytes(both, tmp_path)[0] == expected * 2
    single = folder / "jetImage_1_100p.h5"
    assert names_and_bytes(single, tmp_path)[0] == [expected[1]]


def test_folders_are_searched_to_the_bottom_without_hidden_files(folder, tmp_path):
    deep = folder / "a" / "b"
    made_up_file(2).write(deep / "deep.HDF5")
    made_up_file(2).write(folder / ".hidden" / "x.h5")
    (folder / "._jetImage_0_100p.h5").write_bytes(b"a Mac was here")
    (folder / "readme.txt").write_text("hello")
    assert [file.path.name for file in find_source_files(folder)] == [
        "deep.HDF5",
        *(f"jetImage_{i}_100p.h5" for i in range(3)),
    ]


def test_other_members_are_passed_over(folder, tmp_path):
    jets = (folder / "jetImage_0_100p.h5").read_bytes()
    path = archive(
        tmp_path / "jets.tar",
        ("train", b"", {"type": tarfile.DIRTYPE}),
        ("train/._x.h5", b"a Mac was here", {}),
        ("train/README", b"hello", {}),
        ("train/x.h5", jets, {}),
    )
    assert names_and_bytes(path, tmp_path)[0] == [("x.h5", jets)]


def test_what_is_not_a_source_is_said(folder, tmp_path):
    refused(tmp_path / "nowhere", tmp_path, "no such file or folder")
    text = tmp_path / "text.txt"
    text.write_text("hello")
    refused(text, tmp_path, "no HDF5 file and no tar")
    fake = tmp_path / "fake.h5"
    fake.write_text("hello")
    refused(fake, tmp_path, "damaged: it does not start as HDF5 does")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, "no HDF5 files and no tar")
    write_tar(folder / "same.tar", folder)
    refused(folder, tmp_path, r"HDF5 files and archives \(same\.tar\), which may hold the same")
    refused(archive(tmp_path / "none.tar", ("x", b"", {})), tmp_path, "no HDF5 files in this")


def test_files_and_folders_that_cannot_be_read_are_not_passed_over(folder, tmp_path, monkeypatch):
    (folder / "gone.h5").symlink_to(tmp_path / "nowhere.h5")
    refused(folder, tmp_path, "cannot be read: No such file or directory")
    (folder / "gone.h5").unlink()
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (folder / "inner").mkdir()
    monkeypatch.setattr(os, "scandir", closed)
    refused(folder, tmp_path, "cannot be read: Permission denied")


def test_a_glance_tells_sources_from_other_things(folder, tmp_path):
    plain = tmp_path / "without_suffix"
    shutil.copy(folder / "jetImage_0_100p.h5", plain)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    assert is_source(folder)
    assert is_source(plain)
    assert not is_source(tmp_path / "empty")
    assert not is_source(tmp_path / "text")
    assert not is_source(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../escaped.h5", "/escaped.h5", "a/../../escaped.h5", "../x"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    path = archive(tmp_path / "jets.tar", (name, HDF5_SIGNATURE, {}))
    refused(path, tmp_path, "leads out of the archive; it is not unpacked")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    member = ("x.h5", b"", {"type": kind, "linkname": "/etc/passwd"})
    refused(archive(tmp_path / "jets.tar", member), tmp_path, "x.h5 is a link or no plain file")


def test_a_member_that_is_no_hdf5_is_refused_before_it_is_unpacked(tmp_path):
    path = archive(tmp_path / "jets.tar.gz", ("x.h5", bytes(10**7), {}), mode="w:gz")
    refused(path, tmp_path, "x.h5 does not start as HDF5 does")


def test_a_member_larger_than_the_disk_is_refused_at_its_header(tmp_path):
    header = tarfile.TarInfo("x.h5")
    header.size = 10**18
    path = tmp_path / "jets.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + HDF5_SIGNATURE + bytes(10_240))
    refused(path, tmp_path, r"x\.h5 has 10{18} bytes, and \d+ are free", MachineError)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_was_cut_short_is_never_taken_for_whole(folder, tmp_path, mode):
    ending = mode.partition(":")[2]
    whole = write_tar(tmp_path / f"jets.tar.{ending}".rstrip("."), folder, mode)
    data = whole.read_bytes()
    with tarfile.open(whole) as tar:
        headers = [member.offset for member in tar] if mode == "w" else []
    sizes = [10, len(data) // 3, len(data) // 2, *headers[1:], *(h + 100 for h in headers[1:])]
    for size in [*sizes, *([len(data) - 1] if ending else [])]:
        whole.write_bytes(data[:size])
        refused(whole, tmp_path, "a damaged archive: |does not start as")


def test_a_wrong_byte_in_a_compressed_archive_is_found(folder, tmp_path):
    path = write_tar(tmp_path / "jets.tar.gz", folder)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum
    path.write_bytes(data)
    refused(path, tmp_path, "a damaged archive: CRC check failed")


def test_a_full_disk_while_unpacking_is_an_error_of_the_machine(folder, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "jets.tar", folder)

    class FullDisk(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    opened = Path.open

    def open_full(self, mode="r", *arguments):
        return FullDisk() if self.name == "member.h5" else opened(self, mode, *arguments)

    monkeypatch.setattr(Path, "open", open_full)
    refused(path, tmp_path, "cannot be unpacked: No space left on device", MachineError)
