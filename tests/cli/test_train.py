"""`ucluster-tune train`, killed and typed again, alone and with workers."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from tests import small_study
from tests.gate import Gate
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.trial.files import TrialFiles

pytestmark = [pytest.mark.slow]

N_EPOCHS, KILLED_AT = 6, 2
ARRAYS = ("parameters", "averages", "first_moment", "second_moment")


@pytest.fixture(scope="module")
def configuration(jets_parquet, tmp_path_factory):
    """A file to train."""
    return small_study.write_study(
        tmp_path_factory.mktemp("train") / "small.yaml",
        jets_parquet,
        training={"n_epochs": N_EPOCHS},
        resources={"workers_per_trial": 1},
    )


@pytest.fixture(scope="module")
def trained(configuration, tmp_path_factory):
    """A training that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    result = small_study.call("train", configuration, "--out", out)
    return SimpleNamespace(files=TrialFiles(out), **vars(result))


def test_training_shows_epochs_and_what_it_reached(trained):
    assert trained.returncode == 0, trained.stderr
    lines = trained.stderr.splitlines()
    assert lines[0].split() == [
        *("epoch", "phase", "focal", "loss", "cluster", "loss"),
        *("accuracy", "in", "batches", "jets/s"),
    ]
    assert [int(line.split()[0]) for line in lines[1:]] == list(range(1, N_EPOCHS + 1))
    assert max(map(len, lines)) <= 80
    newest, _ = trained.files.newest_checkpoint()
    summary = trained.stdout.splitlines()
    assert summary[0].startswith(f"best epoch {newest.best.epoch}, chosen on validation jets")
    assert "test jets: accuracy" in summary[1]
    assert "81.0 %" in summary[2]
    assert summary[3] == f"checkpoint: {trained.files.checkpoint(newest.best.epoch)}"


def test_training_keeps_the_last_two_epochs_and_the_best(trained):
    newest, _ = trained.files.newest_checkpoint()
    kept = {N_EPOCHS - 1, N_EPOCHS, newest.best.epoch}
    names = {path.name for path in (trained.files.root / "checkpoints").iterdir()}
    assert names == {f"epoch-{epoch:04d}.ckpt" for epoch in kept}


def test_killed_training_goes_on_to_the_same_weights(configuration, trained, tmp_path):
    out, gate = tmp_path / "out", Gate(tmp_path / "gate")
    gate.hold_after(KILLED_AT)
    training = small_study.RunningCommand(
        tmp_path, "train", configuration, "--out", out, **gate.variables
    )
    try:
        training.wait_for(f"\n    {KILLED_AT}  ")
    finally:
        training.kill()
    files = TrialFiles(out)
    assert files.last_epoch == KILLED_AT
    result = small_study.call("train", configuration, "--out", out)
    assert result.returncode == 0, result.stderr
    first = result.stderr.splitlines()[1]
    assert int(first.split()[0]) == KILLED_AT + 1
    again, whole = (read_checkpoint(f.checkpoint(N_EPOCHS)) for f in (files, trained.files))
    for name in ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert result.stdout.splitlines()[:3] == trained.stdout.splitlines()[:3]
    assert f"ucluster-tune predict {out} " in result.stdout


def without_program(text):
    """The commands to type next, whatever the program was called by."""
    return re.sub(r"\S*ucluster-tune ", "ucluster-tune ", text)


def test_finished_training_is_only_measured_again(configuration, trained):
    result = small_study.call("train", configuration, "--out", trained.files.root)
    assert result.returncode == 0
    assert without_program(result.stdout) == without_program(trained.stdout)
    assert len(result.stderr.splitlines()) == 1, "the head of the table alone"


def test_other_configuration_in_the_same_folder_is_refused(configuration, trained):
    before = trained.files.config.read_text()
    arguments = ["--out", trained.files.root, "--set", "training.learning_rate=0.5"]
    result = small_study.call("train", configuration, *arguments)
    assert result.returncode == 1
    assert "holds a training of another configuration" in result.stderr
    assert "training.learning_rate is 0.5, was 0.001" in result.stderr
    assert trained.files.config.read_text() == before


def test_a_training_is_prolonged_from_its_checkpoint(configuration, trained, tmp_path):
    """To the weights of one that was to have so many epochs from its start."""
    out, n_epochs = tmp_path / "out", N_EPOCHS - 2
    first = ["--set", f"training.n_epochs={n_epochs}"]
    assert small_study.call("train", configuration, "--out", out, *first).returncode == 0
    result = small_study.call("train", configuration, "--out", out)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == [n_epochs + 1, N_EPOCHS]
    again, whole = (
        read_checkpoint(f.checkpoint(N_EPOCHS)) for f in (TrialFiles(out), trained.files)
    )
    for name in ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert f"--set training.n_epochs={2 * N_EPOCHS}" in result.stdout.splitlines()[-1]
    fewer = small_study.call("train", configuration, "--out", out, *first)
    assert f"training.n_epochs: {n_epochs} are fewer; give {N_EPOCHS} or more" in fewer.stderr


def test_search_space_is_refused(configuration, tmp_path):
    study = yaml.safe_load(configuration.read_text())
    del study["training"]["n_epochs"]
    study["search_space"] = {"training.n_epochs": {"type": "int", "low": 2, "high": 9}}
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump(study))
    result = small_study.call("train", file, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "search_space: must be empty to train" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.cluster
def test_two_workers_train_without_the_noise_of_libraries(configuration, tmp_path):
    out = tmp_path / "out"
    training = small_study.RunningCommand(
        tmp_path,
        *("train", configuration, "--out", out, "--workers", "2"),
        *("--set", "training.n_epochs=3"),
    )
    try:
        training.wait_for("\n    1  pretraining")
        assert training.end() == 0, training.err.read_text()
        assert training.left_over(timeout_s=0) == []
    finally:
        training.kill()
    lines = training.err.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1", "2", "3"]
    assert training.out.read_text().startswith("best epoch ")
    assert "rank 1 of 2" in TrialFiles(out).workers_log.read_text()
