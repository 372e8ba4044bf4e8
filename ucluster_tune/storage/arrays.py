"""NumPy archives of float32 arrays, as plain as they come: nothing compressed, nothing pickled.

A reader knows from the size of the file how large the arrays can be: no archive unpacks to more
memory than it takes on the disk.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
_FLOAT32: Final = np.dtype("<f4")
_MAX_HEADER_BYTES: Final = 10_000


def write_archive(arrays: Mapping[str, FloatArray]) -> bytes:
    """Return the contents of an `.npz` file that `numpy.load` reads."""
    archive = io.BytesIO()
    floats = {name: np.asarray(array, _FLOAT32) for name, array in arrays.items()}
    np.savez(archive, allow_pickle=False, **floats)
    return archive.getvalue()


def read_archive(contents: bytes, names: Sequence[str]) -> dict[str, FloatArray]:
    """Return the named arrays of an archive; others in it are not looked at.

    Raises:
        ValueError: it is no archive, lacks an array, or one is compressed, of another type than
            float32, or of another size than it says.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            return {name: _read_array(archive, name) for name in names}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"not a NumPy archive: {error}") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> FloatArray:
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError(f"no array {name!r}") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"array {name!r} is compressed")
    stream = io.BytesIO(archive.read(entry))
    numpy_format: Any = np.lib.format  # its functions have no types
    version = numpy_format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"array {name!r} has format {version}")
    shape, is_fortran, dtype = numpy_format.read_array_header_1_0(
        stream, max_header_size=_MAX_HEADER_BYTES
    )
    if dtype != _FLOAT32 or is_fortran:
        raise ValueError(f"array {name!r} holds {dtype}, not float32 in C order")
    values = stream.read()
    if len(values) != prod(shape) * _FLOAT32.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"array {name!r} says shape {list(shape)}, but has {len(values)} bytes")
    return np.frombuffer(values, np.float32).reshape(shape).copy()
