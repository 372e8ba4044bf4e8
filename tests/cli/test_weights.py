"""`ucluster-tune weights`, as typed."""

import shutil

import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.models.test_published import (
    assert_same_variables,
    made_up_arrays,
    save_with_saver,
)
from tests.published_data import FOLDER, needs_published_data
from ucluster_tune.cli.main import main
from ucluster_tune.models.saved import read_model


def run(*arguments):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("tensorflow1") / "small.ckpt"
    save_with_saver(prefix, made_up_arrays())
    return prefix


def test_a_checkpoint_goes_to_a_model_folder_and_back(checkpoint, tmp_path):
    model, back = tmp_path / "my model", tmp_path / "back.ckpt"
    result = run("import", checkpoint, "--to", model, "--neighbors", 3)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{model}: ")
    assert "3 clusters, 3 steps of Adam" in first
    assert second == f"Next: ucluster-tune evaluate '{model}' DATA"
    result = run("export", model, "--to", back)
    assert result.exit_code == 0, result.output
    assert f"{back}: " in result.stdout
    assert_same_variables(checkpoint, back)


def test_the_classes_it_was_trained_on_are_kept(checkpoint, tmp_path):
    run("import", checkpoint, "--to", tmp_path / "model", "--classes", "t,w")
    assert read_model(tmp_path / "model").selection.classes == ("w", "t")


@needs_published_data
def test_published_weights_are_counted(tmp_path):
    result = run("import", FOLDER / "cluster.ckpt", "--to", tmp_path / "published")
    assert result.exit_code == 0, result.output
    assert "186,210 weights and 2,766 batch-norm averages" in result.stdout
    assert "118200 steps of Adam" in result.stdout


def test_nothing_is_overwritten(checkpoint, tmp_path):
    (tmp_path / "precious").write_text("")
    result = run("import", checkpoint, "--to", tmp_path)
    assert result.exit_code == 1
    assert "is there already, and nothing is ever overwritten" in result.stderr
    copy = tmp_path / "copy.ckpt"
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(f"{checkpoint}{suffix}", f"{copy}{suffix}")
    run("import", checkpoint, "--to", tmp_path / "model")
    result = run("export", tmp_path / "model", "--to", copy)
    assert result.exit_code == 1
    assert "is there already" in result.stderr


def test_what_is_no_checkpoint_leaves_nothing(tmp_path):
    (tmp_path / "x.index").write_text("hello")
    result = run("import", tmp_path / "x", "--to", tmp_path / "model")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path / 'x'}: not a readable TensorFlow")
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["x.index"]


def test_what_is_no_model_cannot_be_exported(tmp_path):
    result = run("export", tmp_path, "--to", tmp_path / "back.ckpt")
    assert result.exit_code == 1
    assert "no model is in it; name a folder with model.json" in result.stderr


def test_a_folder_that_cannot_be_written_gives_one_clear_error(checkpoint, tmp_path):
    """Where even root may not write, and where TensorFlow itself fails."""
    run("import", checkpoint, "--to", tmp_path / "model")
    result = run("export", tmp_path / "model", "--to", "/sys/back.ckpt")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /sys/back.ckpt: cannot be written: ")
    assert result.stderr.endswith("; choose a folder that can be written\n")
    assert len(result.stderr.splitlines()) == 1
    assert "{{" not in result.stderr
    assert ".part-" not in result.stderr, "the system's own words, not TensorFlow's"


def test_a_disk_that_fills_up_is_told_without_tensorflows_names(checkpoint, tmp_path, monkeypatch):
    run("import", checkpoint, "--to", tmp_path / "model")

    def fail(**_):
        message = "{{function_node __wrapped__SaveV2_device_/x}} back; No space left [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr("tensorflow.raw_ops.SaveV2", fail)
    result = run("export", tmp_path / "model", "--to", tmp_path / "back.ckpt")
    assert "back.ckpt: cannot be written: back; No space left; choose" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("command", ["import", "export"])
def test_nothing_is_written_to_a_uri(checkpoint, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = run(command, checkpoint, "--to", "s3://bucket/model")
    assert result.exit_code == 2
    assert "'s3://bucket/model' is a URI" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["import", "export"])
def test_each_command_shows_an_example(command):
    result = run(command, "--help")
    assert f"ucluster-tune weights {command}" in result.stdout.partition("\n")[2]
