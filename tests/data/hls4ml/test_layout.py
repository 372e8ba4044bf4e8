"""Files that are not what they should be end in one error that names the file and the fault."""

import h5py
import numpy as np
import pytest

from tests.hls4ml_files import JET_NAMES, made_up_file
from tests.peak_memory import growth_mib
from ucluster_tune.data.hls4ml import layout
from ucluster_tune.data.hls4ml.jets import NO_CLASS, check_file, read_blocks, read_rows
from ucluster_tune.errors import DataError


@pytest.fixture
def jets_h5(tmp_path):
    return made_up_file(20).write(tmp_path / "jets.h5")


def refused(path, message):
    with pytest.raises(DataError, match=message) as caught:
        list(read_blocks(path, str(path)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def replace(path, name, value=None, **options):
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file.create_dataset(name, data=value, **options)
        elif options:
            file.create_dataset(name, **options)


def test_where_the_columns_are(jets_h5):
    found = check_file(jets_h5, "jets")
    assert (found.n_jets, found.n_slots, found.mass) == (20, 100, JET_NAMES.index("j_mass"))
    assert found.classes == (53, 54, 55, 56, 57)
    assert found.features == (8, 11, 6, 13, 3, 4, 5, 15)


@pytest.mark.parametrize("name", ["jetConstituentList", "jetFeatureNames", "particleFeatureNames"])
def test_a_missing_data_set_is_named_with_what_is_there(jets_h5, name):
    replace(jets_h5, name)
    refused(jets_h5, rf"no {name}; it has .*\. HLS4ML LHC-jet files have jets")


def test_a_file_without_a_table_of_jets_has_neither_masses_nor_classes(jets_h5):
    replace(jets_h5, "jets")
    found = check_file(jets_h5, "jets")
    assert (found.n_jets, found.mass, found.classes) == (20, None, None)
    block = read_rows(jets_h5, "jets", 3, 9)
    assert len(block) == 6
    assert np.isnan(block.mass_gev).all()
    assert (block.class_index == NO_CLASS).all()
    with pytest.raises(DataError, match="no table jets, which has the mass and the class"):
        layout.refuse_unlabelled(found, "jets")


@pytest.mark.parametrize("name", ["jets", "jetFeatureNames"])
def test_a_group_in_its_place_is_refused(jets_h5, name):
    with h5py.File(jets_h5, "a") as file:
        del file[name]
        file.create_group(name)
    refused(jets_h5, f"{name} is a group or a link")


@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), h5py.ExternalLink("x.h5", "/jets")])
def test_links_are_not_followed(jets_h5, link):
    with h5py.File(jets_h5, "a") as file:
        file["elsewhere"] = file["jets"][()]
        del file["jets"]
        file["jets"] = link
    refused(jets_h5, "jets is a group or a link")


def test_data_in_other_files_is_not_read(jets_h5, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(20 * 59 * 4))
    replace(jets_h5, "jets", shape=(20, 59), dtype="f4", external=[(str(secret), 0, 20 * 59 * 4)])
    refused(jets_h5, "jets lies in other files")
    made_up_file(20).write(tmp_path / "real.h5")
    virtual = h5py.VirtualLayout((20, 59), "f4")
    virtual[:] = h5py.VirtualSource(tmp_path / "real.h5", "jets", (20, 59))
    with h5py.File(jets_h5, "a") as file:
        del file["jets"]
        file.create_virtual_dataset("jets", virtual)
    refused(jets_h5, "jets lies in other files")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("jets", np.zeros((19, 59)), r"jets has 19 jets and jetConstituentList 20"),
        ("jets", np.ones(20), r"jets must be \[jet, column\], got \(20,\)"),
        ("jets", np.float32(1), r"jets must be \[jet, column\], got \(\)"),
        ("jets", np.full((20, 59), b"x"), r"jets holds \|S1, it must be numbers"),
        ("jets", np.ones((20, 59), complex), "jets holds complex128"),
        ("jets", np.ones((20, 50)), r"names j_g as number 54, but there are only 50 columns"),
        ("jets", h5py.Empty("f4"), r"jets must be \[jet, column\], got None"),
        ("jets", np.ones((20, 1001)), "jets has 1001 columns"),
        ("jetConstituentList", np.ones((20, 100)), r"\[jet, constituent, column\]"),
        ("jetConstituentList", np.ones((20, 100, 15)), "names j1_costhetarel as number 16"),
        ("jetConstituentList", np.ones((20, 2001, 16), "i1"), "room for 2001 constituents"),
        ("jetFeatureNames", np.arange(59), "must be a list of at most 1000 names"),
        ("jetFeatureNames", [[b"a"]], "must be a list of at most 1000 names"),
        ("jetFeatureNames", [b"a"] * 1001, "must be a list of at most 1000 names"),
        ("jetFeatureNames", b"j_mass", "must be a list of at most 1000 names"),
        ("jetFeatureNames", np.array([b"x" * 2000]), "has names of 2000 bytes"),
        ("jetFeatureNames", [b"j_g", b"j_pt"], "jetFeatureNames names no column j_mass"),
        ("jetFeatureNames", [b"j_mass", b"j_mass"], "names j_mass 2 times"),
        ("particleFeatureNames", [b"j1_px"], "names no column j1_etarel; it has j1_px; columns"),
        ("jetFeatureNames", [b"Mass", b"j_t"], r"has Mass, j_t; is Mass meant\? .* write j_mass"),
        ("jetConstituentList", np.ones((20, 16, 100)), r"than .* names, 17; .* axes swapped\?"),
    ],
)
def test_wrong_shapes_types_and_names(jets_h5, name, value, message):
    replace(jets_h5, name, value)
    refused(jets_h5, message)


def test_a_chunk_larger_than_memory_is_refused_with_what_mends_it(jets_h5):
    for name, shape in (("jets", (300_000, 59)), ("jetConstituentList", (300_000, 100, 16))):
        replace(jets_h5, name, shape=shape, dtype="f4", chunks=shape, compression="gzip")
    with h5py.File(jets_h5, "a") as file:
        # as large as deflate makes 1.9 GB of zeros, written without ever unpacking them
        file["jetConstituentList"].id.write_direct_chunk((0, 0, 0), bytes(1_900_000))
        file["jets"].id.write_direct_chunk((0, 0), bytes(200_000))
    refused(jets_h5, r"chunks \[300000, 100, 16\] of 1920000000 bytes.*h5repack -l jetConst")


def chunked_by_column(path, n_jets, n_slots=100):
    """A file of n_jets in chunks that hold one constituent of all of them."""
    file = made_up_file(2, n_slots=n_slots)
    constituents = np.resize(file.constituents, (n_jets, n_slots, 16))
    file.jets = np.resize(file.jets, (n_jets, 59))
    file.constituents = constituents[:0]
    file.write(path)
    replace(
        path,
        "jetConstituentList",
        constituents,
        chunks=(n_jets, 1, 16),
        compression="gzip",
        compression_opts=1,
    )
    return path


def test_chunks_that_hold_a_column_of_many_jets_are_read_in_parts(tmp_path, monkeypatch):
    path = chunked_by_column(tmp_path / "jets.h5", 1000, n_slots=20)
    monkeypatch.setattr(layout, "_READ_BYTES", 1 << 16)
    monkeypatch.setattr(layout, "_MAX_READ_BYTES", 1 << 18)
    rows = check_file(path, "jets").rows_per_read
    assert rows == 167  # a sixth of a chunk, 0.25 MiB with all columns
    starts = [block.start for block in read_blocks(path, str(path))]
    assert starts == list(range(0, 1000, rows))


def test_chunks_of_too_many_jets_are_refused_whatever_their_own_size(tmp_path, monkeypatch):
    path = chunked_by_column(tmp_path / "jets.h5", 1000, n_slots=20)
    monkeypatch.setattr(layout, "_READ_BYTES", 1 << 10)
    monkeypatch.setattr(layout, "_MAX_READ_BYTES", 1 << 16)
    refused(
        path,
        r"chunks \[1000, 1, 16\], whose 1000 jets take 1516000 bytes with all their columns, at"
        r" most 1048576 can be read; repack it:"
        r" `h5repack -l jetConstituentList:CHUNK=100x20x16 OLD\.h5 NEW\.h5`",
    )


@pytest.mark.slow
def test_memory_stays_flat_whatever_the_chunks(tmp_path):
    """40 000 jets of 256 MB in chunks of a constituent each."""
    path = chunked_by_column(tmp_path / "jets.h5", 40_000)
    growth, n_jets = growth_mib(
        "import sys; from ucluster_tune.data.hls4ml.jets import read_blocks",
        "print(sum(map(len, read_blocks(sys.argv[1], 'jets'))))",
        path,
    )
    assert n_jets == "40000"
    assert growth < 220


def test_damage_is_one_error(jets_h5):
    data = jets_h5.read_bytes()
    for size in (0, 4, 8, 100, 2000, len(data) // 2, len(data) - 1):
        jets_h5.write_bytes(data[:size])
        refused(jets_h5, "a damaged HDF5 file: ")


def test_a_flipped_byte_is_read_or_refused_but_never_a_traceback(tmp_path):
    path = made_up_file(4, n_slots=5).write(tmp_path / "jets.h5", compression="gzip")
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    n_refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            list(read_blocks(path, str(path)))
        except DataError as error:
            n_refused += 1
            assert "\n" not in str(error)
    assert n_refused > 3


def test_a_missing_file_is_an_error(tmp_path):
    refused(tmp_path / "nowhere.h5", "no such file")


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_compression_that_is_not_installed_is_told_as_one(tmp_path, is_packed):
    made = made_up_file(6)
    path = made.write(tmp_path / "blosc.h5")
    jets = np.ascontiguousarray(made.jets)
    with h5py.File(path, "a") as file:
        del file["jets"]
        packing = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        packing.set_chunk(jets.shape)
        packing.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2,))  # Blosc
        kind, shape = h5py.h5t.py_create(jets.dtype), h5py.h5s.create_simple(jets.shape)
        dataset = h5py.h5d.create(file.id, b"jets", kind, shape, packing)
        dataset.write_direct_chunk((0, 0), jets.tobytes(), filter_mask=0 if is_packed else 1)
    if not is_packed:  # as HDF5 leaves a chunk that a filter made no smaller
        assert check_file(path, "blosc.h5").n_jets == 6
        return
    told = r"blosc.h5: jets is compressed with HDF5 filter 32001 .*not installed.*hdf5plugin"
    with pytest.raises(DataError, match=told):
        check_file(path, "blosc.h5")
