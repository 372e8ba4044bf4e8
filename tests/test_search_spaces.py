"""Every search space that ships loads, says what it is, and is what it says."""

from pathlib import Path

import pytest

from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.points import published_point, trial_config
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.config.trial import LossConfig, ModelConfig, TrainingConfig
from ucluster_tune.config.yaml_text import read_yaml_mapping
from ucluster_tune.data.making.preparation import CACHE_VARIABLE, plan_preparation
from ucluster_tune.data.reading.dataset import open_dataset

FOLDER = Path(__file__).parents[1] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_the_three_files_ship():
    assert {"jets.yaml", "published.yaml", "quickstart.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_loads_without_a_warning(file):
    study = load_study_config(file)
    assert study.name == file.stem
    assert warnings_for(study) == []
    trial_config(study, published_point(study))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_opens_with_what_it_is(file):
    comment = file.read_text().partition("\n\n")[0]
    for word in ("Data set", "Paper", "Command", "Expected time", "Metric"):
        assert f"# {word} " in comment
    assert f"search_spaces/{file.name}" in comment


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_names_a_data_set_that_is_there_or_can_be_fetched(
    file, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    study = load_study_config(file)
    preparation = plan_preparation(study.data)
    if preparation.is_ready:
        assert open_dataset(study.data).class_names == study.data.classes
    else:
        assert file.stem == "jets"
        assert preparation.record == "3602254"


def test_published_is_the_published_recipe_in_full():
    raw = read_yaml_mapping(FOLDER / "published.yaml")
    study = load_study_config(FOLDER / "published.yaml")
    assert study.search_space == {}
    assert (study.model, study.loss, study.training) == (
        ModelConfig(),
        LossConfig(),
        TrainingConfig(),
    )
    for name, section in (
        ("model", ModelConfig),
        ("loss", LossConfig),
        ("training", TrainingConfig),
    ):
        assert set(raw[name]) == set(section.model_fields)


def test_quickstart_is_what_the_project_promises():
    study = load_study_config(FOLDER / "quickstart.yaml")
    assert study.budget.n_trials is not None
    assert study.budget.n_trials >= 12
    assert study.training.n_epochs <= 20
    assert study.resources.workers_per_trial == 1
    assert study.scheduler.name == "asha"
    assert study.sampler.name == "tpe"
    assert study.sampler.published_first


def test_jets_is_the_search_of_the_paper():
    study = load_study_config(FOLDER / "jets.yaml")
    assert study.data.classes == ("w", "z", "t")
    assert (study.data.mass_min_gev, study.data.mass_max_gev) == (10, 200)
    assert study.training.global_batch_size == 512
    assert study.resources.gpus_per_worker == 1
    assert {"loss.clustering_weight", "model.n_neighbors"} <= set(study.search_space)
    assert study.sampler.published_first
    assert study.scheduler.name == "asha"
    assert study.scheduler.grace_period > TrainingConfig().n_pretraining_epochs
