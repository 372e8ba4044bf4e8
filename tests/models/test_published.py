"""TensorFlow 1 checkpoints of the published code come in and go out whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.published_data import FOLDER, needs_published_data
from tests.training.small_training import MODEL
from ucluster_tune.errors import CheckpointError, ModelError
from ucluster_tune.model.abcnet import build_abcnet
from ucluster_tune.model.published import published_arrays, published_name
from ucluster_tune.models.published import read_published, write_published
from ucluster_tune.models.saved import read_model, write_model

NETWORK = build_abcnet(MODEL)
N_STEPS = 3


def all_variables(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_variables(first, second):
    wanted, found = all_variables(first), all_variables(second)
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert np.array_equal(found[name], array), name


def made_up_arrays():
    generator = np.random.default_rng(4)
    vectors = (
        (NETWORK.parameters, generator.normal(size=NETWORK.parameters.size)),
        (NETWORK.averages, generator.uniform(size=NETWORK.averages.size)),
    )
    return {
        name: array
        for layout, vector in vectors
        for name, array in published_arrays(layout, vector.astype(np.float32)).items()
    }


def save_with_saver(prefix, arrays, with_adam=True):
    """What the published code does: variables, Adam, a counter of steps, and a Saver."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            name: v1.Variable(value, name=name, use_resource=False, trainable=trains(name))
            for name, value in arrays.items()
        }
        if with_adam:
            batch = v1.Variable(0, name="Variable", trainable=False)
            loss = tf.add_n([tf.reduce_sum(v**2) for name, v in variables.items() if trains(name)])
            step = v1.train.AdamOptimizer(1e-3).minimize(loss, global_step=batch)
        session.run(v1.global_variables_initializer())
        if with_adam:
            for _ in range(N_STEPS):
                session.run(step)
        v1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def trains(name):
    return not name.endswith("ExponentialMovingAverage")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small checkpoint that TensorFlow's Saver wrote after some steps of Adam."""
    prefix = tmp_path_factory.mktemp("tensorflow1") / "cluster.ckpt"
    save_with_saver(prefix, made_up_arrays())
    return prefix


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A copy to damage."""
    for file in checkpoint.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / checkpoint.name


@needs_published_data
@pytest.mark.parametrize("name", ["cluster.ckpt", "model.ckpt"])
def test_published_weights_come_back_bit_by_bit(tmp_path, name):
    """All 222 variables: the dead branch, the biases, Adam's moments and powers, the counter."""
    write_model(read_published(FOLDER / name, 10), tmp_path / "model")
    n_variables = write_published(read_model(tmp_path / "model"), tmp_path / "back.ckpt")
    assert n_variables == 222
    assert_same_variables(FOLDER / name, tmp_path / "back.ckpt")


def test_what_a_saver_wrote_comes_back_bit_by_bit(checkpoint, tmp_path):
    model = read_published(checkpoint, 3)
    assert model.config == MODEL
    assert model.optimizer is not None
    assert model.optimizer.n_steps == N_STEPS
    write_model(model, tmp_path / "model")
    write_published(read_model(tmp_path / "model"), tmp_path / "back.ckpt")
    assert_same_variables(checkpoint, tmp_path / "back.ckpt")
    assert all_variables(checkpoint)["beta1_power"] == pytest.approx(0.9 ** (N_STEPS + 1))


def test_an_export_is_restored_by_a_saver(checkpoint, tmp_path):
    write_published(read_published(checkpoint, 3), tmp_path / "back.ckpt")
    v1 = tf.compat.v1
    wanted = all_variables(checkpoint)
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [
            v1.get_variable(name, initializer=np.zeros_like(v)) for name, v in wanted.items()
        ]
        v1.train.Saver().restore(session, str(tmp_path / "back.ckpt"))
        for variable, value in zip(session.run(variables), wanted.values(), strict=True):
            assert np.array_equal(variable, value)


def test_weights_alone_come_in_and_go_out_without_adam(tmp_path):
    save_with_saver(tmp_path / "bare.ckpt", made_up_arrays(), with_adam=False)
    model = read_published(tmp_path / "bare.ckpt", 3)
    assert model.optimizer is None
    write_published(model, tmp_path / "back.ckpt")
    assert_same_variables(tmp_path / "bare.ckpt", tmp_path / "back.ckpt")


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001"])
def test_a_checkpoint_is_named_by_any_of_its_files_or_its_folder(checkpoint, ending):
    named = read_published(checkpoint.with_name(checkpoint.name + ending), 3)
    in_folder = read_published(checkpoint.parent, 3)
    assert np.array_equal(named.parameters, in_folder.parameters)


def test_nothing_but_the_two_files_is_left(checkpoint, tmp_path):
    write_published(read_published(checkpoint, 3), tmp_path / "out" / "back.ckpt")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "back.ckpt.data-00000-of-00001",
        "back.ckpt.index",
    ]


def test_nothing_is_overwritten(checkpoint, copy):
    before = all_variables(copy)
    with pytest.raises(CheckpointError, match="nothing is ever overwritten"):
        write_published(read_published(checkpoint, 3), copy)
    assert sorted(all_variables(copy)) == sorted(before)


def test_a_place_that_cannot_be_written_is_named(checkpoint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot be written: .*choose a folder that can"):
        write_published(read_published(checkpoint, 3), tmp_path / "file" / "back.ckpt")


def test_a_missing_checkpoint_is_told_with_what_one_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"no TensorFlow checkpoint, which is a pair"):
        read_published(tmp_path / "none.ckpt", 10)
    with pytest.raises(CheckpointError, match=r"no TensorFlow checkpoint"):
        read_published(tmp_path, 10)


def test_a_folder_of_several_checkpoints_asks_for_one(copy):
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(f"{copy}{suffix}", f"{copy.with_name('model.ckpt')}{suffix}")
    with pytest.raises(CheckpointError, match=r"several checkpoints: cluster\.ckpt, model\.ckpt"):
        read_published(copy.parent, 10)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("n_kept", [0, 10, 0.5, 0.99])
def test_a_file_cut_short_is_refused(copy, suffix, n_kept):
    file = Path(f"{copy}{suffix}")
    contents = file.read_bytes()
    file.write_bytes(
        contents[: n_kept if isinstance(n_kept, int) else int(n_kept * len(contents))]
    )
    with pytest.raises((CheckpointError, ModelError)):
        read_published(copy, 3)


def test_missing_data_are_refused(copy):
    Path(f"{copy}.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match="not a readable TensorFlow checkpoint"):
        read_published(copy, 3)


def test_altered_bytes_give_an_error_or_the_same_numbers(copy, checkpoint):
    """TensorFlow keeps a checksum of each tensor and of each block of the index."""
    wanted = read_published(checkpoint, 3)
    for suffix, step in ((".index", 97), (".data-00000-of-00001", 499)):
        file = Path(f"{copy}{suffix}")
        contents = file.read_bytes()
        for position in range(0, len(contents), step):
            damaged = bytearray(contents)
            damaged[position] ^= 0xFF
            file.write_bytes(damaged)
            try:
                found = read_published(copy, 3)
            except (CheckpointError, ModelError):
                continue
            assert np.array_equal(found.parameters, wanted.parameters), (suffix, position)
        file.write_bytes(contents)


@pytest.mark.parametrize("contents", [b"", b"hello", bytes(4096), b"\xff" * 4096])
def test_a_foreign_index_is_refused(tmp_path, contents):
    (tmp_path / "x.index").write_bytes(contents)
    (tmp_path / "x.data-00000-of-00001").write_bytes(contents)
    with pytest.raises(CheckpointError, match="not a readable TensorFlow checkpoint"):
        read_published(tmp_path / "x", 10)


CENTROIDS = published_name("centroids")
HEAD = published_name("head_1/weights")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({CENTROIDS: None}, "no variable 'mu': these are not the weights of UCluster"),
        ({HEAD: np.zeros((3, 7), np.float32)}, "needs"),
        ({"BiasAdd/biases": np.zeros(5, np.float32)}, r"'BiasAdd/biases' has shape \[5\]"),
        ({"BiasAdd/biases": None}, "'BiasAdd/biases' is missing"),
        ({CENTROIDS: np.zeros((1, 3), np.float32)}, "n_clusters = 1, which this network cannot"),
        ({CENTROIDS: np.float32(3)}, "n_clusters = 0"),
        ({HEAD: np.zeros((3, 6), np.float64)}, "holds float64, not float32"),
        ({HEAD: np.full((3, 6), np.nan, np.float32)}, "18 numbers are NaN or infinite"),
    ],
)
def test_variables_of_another_network_are_refused(tmp_path, change, message):
    arrays = {**made_up_arrays(), **change}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    save_with_saver(tmp_path / "other.ckpt", arrays, with_adam=False)
    with pytest.raises((CheckpointError, ModelError), match=message):
        read_published(tmp_path / "other.ckpt", 3)


def test_adam_of_another_shape_is_left_out(tmp_path):
    arrays = made_up_arrays()
    arrays[f"{HEAD}/Adam"] = np.zeros(3, np.float32)
    save_with_saver(tmp_path / "odd.ckpt", arrays, with_adam=False)
    assert read_published(tmp_path / "odd.ckpt", 3).optimizer is None
