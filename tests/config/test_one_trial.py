"""A trial's configuration as a study of its own."""

import pytest

from tests.small_study import small_study
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.one_trial import study_of_one, trial_config_of
from ucluster_tune.config.points import trial_config
from ucluster_tune.config.study import StudyConfig


@pytest.mark.parametrize("n_epochs", [2, 3, 400])
def test_trials_configuration_loads_as_one_to_train(tmp_path, n_epochs):
    """Also where the trial is shorter than the scheduler's usual grace period."""
    study = StudyConfig.model_validate(
        small_study(
            tmp_path,
            search_space={"loss.focal_weight": {"type": "float", "low": 0.1, "high": 5.0}},
            training={"n_epochs": n_epochs},
            scheduler={"name": "asha", "grace_period": 2},
            objective={"metric": "nmi"},
            tracking={"uri": "https://ann:secret@host/mlflow"},
            budget={"n_trials": 9},
        )
    )
    config = trial_config(study, {"loss.focal_weight": 2.5})
    file = tmp_path / "best.yaml"
    file.write_text(dump_config(study_of_one(study, config)))
    loaded = load_study_config(file)
    assert trial_config_of(loaded) == config
    assert loaded.loss.focal_weight == 2.5
    assert loaded.search_space == {}
    assert loaded.resources == study.resources
    assert loaded.objective == study.objective
    assert "secret" not in file.read_text()
