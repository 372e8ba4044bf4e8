"""`ucluster-tune train` in a folder that holds a training: what may go on, told before it does."""

import pytest
from click.testing import CliRunner

from tests import small_study
from ucluster_tune.cli.main import main
from ucluster_tune.cli.models.train import _refuse_other
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.trial.files import TrialFiles


@pytest.fixture
def file(jets_parquet, tmp_path):
    return small_study.write_study(tmp_path / "small.yaml", jets_parquet)


@pytest.fixture
def out(file, tmp_path):
    """The folder of a training of which three epochs were run."""
    files = TrialFiles(tmp_path / "out")
    files.checkpoint(3).parent.mkdir(parents=True)
    files.checkpoint(3).touch()
    files.config.write_text(dump_config(trial_config_of(load_study_config(file))))
    return files


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.learning_rate=0.5", "training.learning_rate is 0.5, was 0.001"),
        ("model.n_clusters=4", "model.n_clusters is 4, was 3"),
    ],
)
def test_another_configuration_is_refused_with_the_values_that_differ(file, out, override, told):
    result = CliRunner().invoke(
        main, ["train", str(file), "--out", str(out.root), "--set", override]
    )
    assert result.exit_code == 1
    assert "out holds a training of another configuration" in result.stderr
    assert told in result.stderr
    assert "choose another folder with --out, or bring the old values back" in result.stderr


def changed(file, *overrides):
    return trial_config_of(load_study_config(file, overrides))


def test_more_epochs_and_moved_jets_go_on_and_fewer_epochs_do_not(file, out, capsys):
    before = changed(file)
    _refuse_other(before, changed(file, "training.n_epochs=9"), out)
    _refuse_other(before, changed(file, "data.path=/elsewhere"), out)
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigurationError, match="2 are fewer; give 3 or more"):
        _refuse_other(
            before,
            changed(file, "training.n_epochs=2", "training.n_pretraining_epochs=1"),
            out,
        )


def test_a_cosine_that_gets_another_end_is_warned_of(file, out, capsys):
    cosine = "training.learning_rate_schedule=cosine"
    _refuse_other(changed(file, cosine), changed(file, cosine, "training.n_epochs=9"), out)
    assert "the cosine of the learning rate ends at epoch 9 now, at 3" in capsys.readouterr().err
