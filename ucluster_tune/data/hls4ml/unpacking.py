"""All HDF5 files of a source side by side, for whoever needs any part of them at any time."""

from pathlib import Path, PurePosixPath

from ucluster_tune.data.hls4ml.sources import Hdf5File, OnBytes, SourceFile, hdf5_files


def side_by_side(
    files: tuple[SourceFile, ...], scratch: Path, on_bytes: OnBytes
) -> tuple[Hdf5File, ...]:
    """Return all HDF5 files, those of archives unpacked.

    They come archive by archive, in each in the order of their names: the order in which they
    would be found where somebody had unpacked the archive.

    Args:
        files: as found by `find_source_files`.
        scratch: empty folder for what is unpacked; it stays as long as the files are needed.
        on_bytes: called with the number of bytes of archives read since the last call.

    Raises:
        DataError: an archive is damaged, or not harmless.
        MachineError: no space to unpack it.
    """
    found: list[Hdf5File] = []
    for file in files:
        if not file.is_archive:
            found += hdf5_files((file,), scratch, on_bytes)
            continue
        members: list[Hdf5File] = []
        for member in hdf5_files((file,), scratch, on_bytes):
            kept = scratch / f"{len(found) + len(members):06d}.h5"
            member.path.rename(kept)
            members.append(Hdf5File(kept, member.name, member.label))
        found += sorted(members, key=lambda member: PurePosixPath(member.label))
    return tuple(found)
