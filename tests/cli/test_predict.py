"""`ucluster-tune predict`, as typed."""

import signal
import tempfile
from types import SimpleNamespace

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests import small_study
from tests.hls4ml_files import made_up_file, write_folder, write_tar
from tests.models.test_prediction import make_model
from tests.published_data import FOLDER, needs_published_data, published_arrays_of
from tests.small_datasets import made_up_jets, pack_padded, write_jets, write_tables
from ucluster_tune.cli.main import main
from ucluster_tune.cli.models import arguments, predict
from ucluster_tune.data.format.schema import SPLITS, jets_table
from ucluster_tune.data.hls4ml.stream import open_hls4ml
from ucluster_tune.data.making.predictions import ENDINGS
from ucluster_tune.model.inference import INFERENCE_BATCH
from ucluster_tune.models import prediction
from ucluster_tune.models.saved import write_model


def run(*arguments):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def predicted(*arguments, out):
    result = run(*arguments, "--out", out)
    assert result.exit_code == 0, result.output
    return result, pq.read_table(out)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "small"
    write_model(make_model(), folder)
    return folder


@pytest.fixture(scope="module")
def jets(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets", 50, 20, 30)


def test_every_jet_gets_one_row_in_order(model, jets, tmp_path):
    result, table = predicted(model, jets, out=tmp_path / "clusters.parquet")
    assert table["jet"].to_pylist() == list(range(100))
    distances = np.stack([table[f"distance_{k}"].to_numpy() for k in range(3)], axis=1)
    assert np.array_equal(table["cluster"].to_numpy(), distances.argmin(axis=1))
    splits = ["train"] * 50 + ["validation"] * 20 + ["test"] * 30
    assert table["split"].to_pylist() == splits
    assert table["row"].to_pylist() == [*range(50), *range(20), *range(30)]
    assert set(table["file"].to_pylist()) == {f"{split}-00000.parquet" for split in splits}
    counts = np.bincount(table["cluster"].to_numpy(), minlength=3)
    first, second, last = result.stdout.splitlines()
    assert first.endswith(f"100 jets of {jets}, jets in the order train, validation, test")
    assert second == "Jets by cluster: " + ", ".join(f"{k}: {n}" for k, n in enumerate(counts))
    assert last.endswith(f"ucluster-tune evaluate {model} {jets}")
    assert "predicting: 100 jets" in result.stderr


def test_a_split_has_the_rows_of_its_place_in_the_whole(model, jets, tmp_path):
    _, whole = predicted(model, jets, out=tmp_path / "all.parquet")
    result, test = predicted(model, jets, "--split", "test", out=tmp_path / "test.parquet")
    assert test["embedding_0"].to_numpy() == pytest.approx(
        whole["embedding_0"].to_numpy()[70:], abs=1e-5
    )
    assert result.stdout.splitlines()[-1].endswith("--split test")


def test_the_batch_size_makes_no_difference(model, jets, tmp_path):
    _, wanted = predicted(model, jets, out=tmp_path / "wanted.parquet")
    _, found = predicted(model, jets, "--batch-size", 3, out=tmp_path / "found.parquet")
    for name in wanted.column_names:
        assert found[name].to_numpy() == pytest.approx(wanted[name].to_numpy(), abs=1e-5), name


def test_ctrl_c_leaves_no_file(model, jets, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pyarrow.parquet.ParquetWriter.write_table",
        lambda *_, **__: signal.raise_signal(signal.SIGINT),
    )
    result = run(model, jets, "--out", tmp_path / "clusters.parquet")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@needs_published_data
def test_published_weights_give_the_published_numbers(tmp_path):
    """From a checkpoint of TensorFlow 1 and a parquet data set to the file of clusters."""
    published = published_arrays_of("inference")
    packed = pack_padded(published.constituents, published.mass_gev, published.jet_class)
    n_real = packed.n_rows - (packed.n_padded > 0)
    real = (published.constituents != 0).any(axis=-1)
    table = jets_table(
        [None] * len(n_real), published.mass_gev, n_real, published.constituents[real]
    )
    data = write_tables(tmp_path / "jets", {"test": table})
    imported = CliRunner().invoke(
        main, ["weights", "import", str(FOLDER / "cluster.ckpt"), "--to", str(tmp_path / "model")]
    )
    assert imported.exit_code == 0, imported.output
    _, found = predicted(tmp_path / "model", data, out=tmp_path / "clusters.parquet")
    for name, wanted, bound in (
        ("embedding", published.embedding, 1e-5),
        ("distance", published.squared_distance, 1e-4),
    ):
        numbers = np.stack([found[f"{name}_{k}"].to_numpy() for k in range(3)], axis=1)
        assert np.abs(numbers - wanted).max() < bound * np.abs(wanted).max(), name
    assert np.array_equal(found["cluster"].to_numpy(), published.squared_distance.argmin(axis=1))


def test_hdf5_files_are_predicted_jet_by_jet(model, tmp_path):
    """The same jets as a parquet data set give the same rows, whatever their class and mass."""
    folder = write_folder(tmp_path / "jets", n_files=2, n_jets=25, classes=("g", "undef", "t"))
    _, found = predicted(model, folder, out=tmp_path / "clusters.parquet")
    assert found["jet"].to_pylist() == list(range(50))
    (jets,) = open_hls4ml(folder / "jetImage_1_100p.h5", tmp_path).read(range(0, 1))
    wanted = prediction.Predictor(make_model()).predict([jets])
    assert found["embedding_1"].to_numpy()[25:] == pytest.approx(wanted.embedding[:, 1], abs=1e-5)


def test_jets_of_an_archive_get_the_rows_of_its_files_unpacked(model, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "jets", n_files=2, n_jets=25)
    archive = write_tar(tmp_path / "jets.tar.gz", folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    _, wanted = predicted(model, folder, out=tmp_path / "wanted.parquet")
    _, found = predicted(model, archive, out=tmp_path / "found.parquet")
    own = ["file"]  # whose label names the archive
    assert found.drop_columns(own).equals(wanted.drop_columns(own))
    assert list(temporary.iterdir()) == [], "what was unpacked is gone"


def test_an_archive_without_room_to_unpack_it_names_the_folder(model, tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "jets.tar.gz", write_folder(tmp_path / "jets", n_files=1))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    result = run(model, archive, "--out", tmp_path / "clusters.parquet")
    assert result.exit_code == 1
    assert "1000 are free at" in result.stderr
    assert f"TMPDIR names the folder, {tempfile.gettempdir()} now" in result.stderr


def test_a_file_that_labels_some_classes_is_predicted_with_a_warning(model, tmp_path):
    file = made_up_file(5)
    file.jet_names[file.jet_names.index(b"j_g")] = b"j_gluon"
    path = file.write(tmp_path / "jets.h5")
    result = run(model, path, "--out", tmp_path / "clusters.parquet")
    assert result.exit_code == 0, result.stderr
    assert f"Warning: {path}: has no column j_g" in result.stderr


def test_hdf5_without_a_table_of_jets_is_unlabelled_and_predicted(model, tmp_path):
    path = made_up_file(9).write(tmp_path / "jets.h5")
    _, wanted = predicted(model, path, out=tmp_path / "wanted.parquet")
    with h5py.File(path, "a") as file:
        del file["jets"], file["jetFeatureNames"]
    _, found = predicted(model, path, out=tmp_path / "found.parquet")
    assert found["mass_gev"].null_count == found["jet_class"].null_count == 9
    assert found["cluster"].equals(wanted["cluster"])
    assert wanted["jet_class"].to_pylist() == ["w", "z", "t"] * 3
    result = CliRunner().invoke(main, ["evaluate", str(model), str(path)])
    assert result.exit_code == 1
    assert "no table jets, which has the mass and the class of each jet" in result.stderr


@pytest.mark.parametrize("name", ["clusters.txt", "clusters", "clusters.parquet.gz"])
def test_a_prediction_of_another_ending_is_refused(model, jets, tmp_path, name):
    result = run(model, jets, "--out", tmp_path / name)
    assert result.exit_code == 2
    assert "must end in one of .parquet, .csv" in result.stderr


def test_hdf5_files_have_no_splits(model, tmp_path):
    folder = write_folder(tmp_path / "jets", n_files=1, n_jets=5)
    result = run(model, folder, "--out", tmp_path / "clusters.parquet", "--split", "test")
    assert result.exit_code == 2
    assert "HDF5 files have no splits" in result.stderr


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_make_no_difference(tmp_path):
    """More jets than one chunk, so that both workers get some and the order matters."""
    write_model(make_model(), tmp_path / "model")
    jets = write_tables(tmp_path / "jets", {"train": made_up_jets(20_000)}, row_group_size=900)
    alone, together = tmp_path / "alone.parquet", tmp_path / "together.parquet"
    here = run(tmp_path / "model", jets, "--out", alone)
    assert here.exit_code == 0, here.stderr
    arguments = (tmp_path / "model", jets, "--out", together, "--workers", "2")
    result = small_study.call("predict", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("predicting: 20,000 jets"), "no noise of libraries"
    wanted, found = pq.read_table(alone), pq.read_table(together)
    assert found["jet"].to_pylist() == list(range(20_000))
    for name in wanted.column_names:
        assert found[name].to_numpy() == pytest.approx(wanted[name].to_numpy(), abs=1e-5), name


@pytest.mark.slow
@pytest.mark.cluster
def test_a_worker_tells_what_is_wrong_with_the_data(model, tmp_path):
    jets = made_up_jets(9)
    index = jets.schema.get_field_index("eta_rel")
    field = jets.schema.field(index)
    import pyarrow as pa

    lists = [[float("inf")] * len(values) for values in jets["eta_rel"].to_pylist()]
    jets = jets.set_column(index, field, pa.array(lists, field.type))
    data = write_tables(tmp_path / "jets", {"train": jets})
    out = tmp_path / "clusters.parquet"
    result = small_study.call("predict", model, data, "--out", out, "--workers", "2")
    assert result.returncode == 1
    assert "column eta_rel" in result.stderr
    assert "NaN or infinite" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["jets"]


FITS = "name a data set (a folder with manifest.json, or its URI) or HLS4ML HDF5"
MODEL_FIRST = "MODEL_DIR comes first, then DATA"


@pytest.fixture
def places(model, jets, tmp_path):
    """What may be named as model or data, by mistake too."""
    found = {"model": model, "jets": jets, "none": tmp_path / "none"}
    for name in ("text", "cluster.ckpt.index", "other.npz"):
        found[name] = tmp_path / name
        found[name].write_text("hello")
    found["cluster.ckpt"] = tmp_path / "cluster.ckpt"
    found["weights"] = model / "weights.npz"
    found["parquet"] = jets / "test-00000.parquet"
    found["empty"] = tmp_path / "empty"
    found["empty"].mkdir()
    found["folder"] = tmp_path
    found["trial"] = tmp_path / "0001"
    (found["trial"] / "checkpoints").mkdir(parents=True)
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "jets"), "none: no such folder; name a folder with model.json"),
        (("empty", "jets"), "empty: no model is in it; name a folder with model.json"),
        (("jets", "jets"), "this is a data set, and no model is in it"),
        (("text", "jets"), "not a checkpoint of ucluster-tune; name a folder with model.json"),
        (("other.npz", "jets"), "(`ucluster-tune weights import CKPT` makes one of published"),
        (("weights", "jets"), "weights.npz: a file of a model folder; name the folder, "),
        (("cluster.ckpt.index", "jets"), "cluster.ckpt.index: a TensorFlow checkpoint"),
        (("cluster.ckpt", "jets"), "cluster.ckpt --to MODEL_DIR`, and name MODEL_DIR"),
        (("jets", "model"), f"this is a model folder; {MODEL_FIRST}"),
        (("jets", "weights"), f"weights.npz: this is a file of a model; {MODEL_FIRST}"),
        (("jets", "trial"), f"0001: this is a trial; {MODEL_FIRST}"),
        (("model", "none"), f"none: no such file or folder; {FITS}"),
        (("model", "text"), f"text: this is neither HDF5 nor an archive of it; {FITS}"),
        (("model", "parquet"), "this is one parquet file; name the folder of its data set"),
        (("model", "empty"), f"empty: the folder is empty; {FITS}"),
        (("model", "folder"), f"neither manifest.json nor HDF5 is in this folder; {FITS}"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_what_does_not_fit_is_named_and_nothing_is_written(
    places, tmp_path, arguments, message, command
):
    before = sorted(tmp_path.rglob("*"))
    options = ["--out", str(tmp_path / "clusters.parquet")] if command == "predict" else []
    result = CliRunner().invoke(
        main, [command, *(str(places[name]) for name in arguments), *options]
    )
    assert result.exit_code == 1
    assert message in result.stderr
    assert "data.path" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "record", ["10.5281/zenodo.3602254", "https://zenodo.org/records/3602254"]
)
def test_a_record_of_zenodo_is_to_be_fetched_first(model, record, tmp_path):
    result = run(model, record, "--out", tmp_path / "clusters.parquet")
    assert result.exit_code == 1
    assert "`ucluster-tune data download 3602254 --to DIR`, and name DIR" in result.stderr


def test_a_prediction_is_not_written_to_a_uri(model, jets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(model, jets, "--out", "s3://bucket/clusters.parquet")
    assert result.exit_code == 2
    assert "'s3://bucket/clusters.parquet' is a URI" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_no_ray_says_which_one_is_meant(model, jets, tmp_path):
    words = (model, jets, "--out", tmp_path / "clusters.parquet", "--workers-at", "nonsense")
    done = small_study.call("predict", *words)
    assert done.returncode == 1
    assert "the Ray at nonsense cannot be joined" in done.stderr
    assert "give HOST:PORT as `ray start --head` printed it" in " ".join(done.stderr.split())


def test_nothing_is_overwritten(model, jets, tmp_path):
    (tmp_path / "clusters.parquet").write_text("precious")
    result = run(model, jets, "--out", tmp_path / "clusters.parquet")
    assert result.exit_code == 1
    assert "nothing is ever overwritten" in result.stderr
    assert (tmp_path / "clusters.parquet").read_text() == "precious"


def test_names_and_defaults_are_those_of_the_layers_below():
    assert arguments.SPLITS == SPLITS
    assert arguments.DEFAULT_BATCH == INFERENCE_BATCH
    assert predict.ENDINGS == ENDINGS


def test_a_data_set_in_a_bucket_gives_the_same_rows(model, jets, tmp_path, s3_server):
    s3_server.make_bucket("data")
    uri = s3_server.upload(jets, "data")
    _, wanted = predicted(model, jets, out=tmp_path / "wanted.parquet")
    result, found = predicted(model, uri, out=tmp_path / "found.parquet")
    assert found.to_pydict() == wanted.to_pydict()
    assert f"100 jets of {uri}, jets in the order" in result.stdout
    missing = run(model, "s3://data/none", "--out", tmp_path / "none.parquet")
    assert missing.exit_code == 1
    assert "s3://data/none: no such file or folder; name a data set" in missing.stderr
