"""Archives of plain float32 arrays, and what is refused in their place."""

import io
import zipfile

import numpy as np
import pytest

from ucluster_tune.storage.arrays import read_archive, write_archive

ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "block/biases": np.array([-1.5], np.float32),
    "nothing": np.zeros(0, np.float32),
}


def archive_of(**entries):
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return contents.getvalue()


def npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def test_arrays_come_back_and_numpy_reads_them_too():
    contents = write_archive(ARRAYS)
    read = read_archive(contents, list(ARRAYS))
    with np.load(io.BytesIO(contents), allow_pickle=False) as by_numpy:
        for name, array in ARRAYS.items():
            assert np.array_equal(read[name], array)
            assert read[name].dtype == np.float32
            assert read[name].shape == array.shape
            assert np.array_equal(by_numpy[name], array)


def test_a_compressed_array_is_refused():
    """A megabyte of it could fill a gigabyte of memory."""
    stream = io.BytesIO()
    np.savez_compressed(stream, weights=np.zeros(1 << 20, np.float32))
    assert len(stream.getvalue()) < 10_000
    with pytest.raises(ValueError, match="'weights' is compressed"):
        read_archive(stream.getvalue(), ["weights"])


def test_a_header_that_promises_more_than_there_is_is_refused():
    honest = npy(np.zeros(16, np.float32))
    lying = honest.replace(b"(16,), }                 ", b"(99999999999999999,), }  ")
    assert lying != honest
    assert len(lying) == len(honest)
    with pytest.raises(ValueError, match=r"says shape \[99999999999999999\], but has 64 bytes"):
        read_archive(archive_of(weights=lying), ["weights"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (npy(np.array([1, "a", None], dtype=object), allow_pickle=True), "holds object"),
        (npy(np.zeros(3)), "holds float64"),
        (npy(np.asfortranarray(np.zeros((2, 3), np.float32))), "not float32 in C order"),
        (npy(np.zeros(2, np.float32))[:-3], "says shape"),
        (npy(np.zeros(2, np.float32))[:20], "array header"),
        (b"", "magic"),
        (b"\x93NUMPY\x03\x00" + bytes(100), "format"),
        (b"\x93NUMPY\x01\x00\x08\x00{'a': 1}", "array header|keys|descr"),
    ],
)
def test_what_is_no_plain_array_is_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        read_archive(archive_of(weights=entry), ["weights"])


@pytest.mark.parametrize("contents", [b"", b"PK", b"hello" * 100, bytes(1000)])
def test_what_is_no_archive_is_refused(contents):
    with pytest.raises(ValueError, match="not a NumPy archive"):
        read_archive(contents, ["weights"])


def test_a_missing_array_is_named():
    with pytest.raises(ValueError, match="no array 'centroids'"):
        read_archive(write_archive(ARRAYS), ["centroids"])


def test_any_damaged_byte_gives_an_error_or_the_same_numbers():
    """Without a checksum around it: nothing but ValueError may come out, and no other number."""
    weights = ARRAYS["weights"]
    contents = write_archive({"weights": weights})
    n_read = 0
    for position in range(len(contents)):
        damaged = bytearray(contents)
        damaged[position] ^= 0xFF
        try:
            read = read_archive(bytes(damaged), ["weights"])["weights"]
        except ValueError:
            continue
        n_read += 1
        assert read.shape == weights.shape, position
        assert read.tobytes() == weights.tobytes(), position
    assert 0 < n_read < len(contents)
