"""What `train` shows."""

import pytest

from tests.study_events import epoch, study_config
from ucluster_tune.report.progress import TrainingProgress, training_summary
from ucluster_tune.training.yardsticks import with_interval

TEST = {
    "clustering_accuracy": 0.5,
    "clustering_accuracy_batched": 0.55,
    "confusion": [[30, 10], [40, 20]],
}


def test_each_epoch_is_a_line_on_stderr_that_fits_a_terminal(capsys):
    with TrainingProgress(study_config(), n_epochs_done=3) as progress:
        progress.on_step(1, 4)
        progress.on_epoch(epoch("0001", 4, 0.625).record)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines == [
        "epoch  phase        focal loss  cluster loss  accuracy  in batches  jets/s",
        "    4  clustering        1.000         0.125    62.5 %      62.5 %    1000",
    ]


def test_a_warning_follows_its_epoch(capsys):
    warning = "empty cluster: no jet is nearest to centroid 2 since epoch 4, step 1"
    with TrainingProgress(study_config(), n_epochs_done=3) as progress:
        progress.on_epoch(epoch("0001", 4, 0.625, warnings=[warning]).record)
    assert capsys.readouterr().err.splitlines()[2] == f"Warning: {warning}"


@pytest.mark.parametrize("done", [0, 6])
def test_training_may_begin_anywhere(done, capsys):
    with TrainingProgress(study_config(), done):
        pass
    assert "Traceback" not in capsys.readouterr().err


def test_summary_names_jets_interval_reference_and_checkpoint():
    best = epoch("0001", 5, 0.625).record
    summary = training_summary(best, with_interval(TEST), study_config(), "out/epoch-0005.ckpt")
    assert summary.splitlines() == [
        "best epoch 5, chosen on validation jets: accuracy 62.5 %",
        "on 100 test jets: accuracy 50.0 % (95 % interval 40.4 to 59.6 %), in batches 55.0 %",
        "reference, in batches: 81.0 %"
        " (arXiv:2010.07106: W/Z/top jets of the HLS4ML data, matched within batches of 512)",
        "checkpoint: out/epoch-0005.ckpt",
    ]
