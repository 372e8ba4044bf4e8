import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucluster_tune.config.points import published_point, trial_config
from ucluster_tune.config.search_space import (
    fit,
    n_values,
    published_values,
    unknown_path_fault,
    value_fault,
)
from ucluster_tune.config.study import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    StudyConfig,
)
from ucluster_tune.config.trial import DataConfig, TrainingConfig
from ucluster_tune.errors import ConfigurationError


def floats(low, high, **more):
    return FloatParameter(type="float", low=low, high=high, **more)


def integers(low, high, **more):
    return IntParameter(type="int", low=low, high=high, **more)


def choices(*values):
    return CategoricalParameter(type="categorical", choices=values)


def study(**search_space):
    named = {path.replace("__", "."): parameter for path, parameter in search_space.items()}
    return StudyConfig(data=DataConfig(path="/jets"), search_space=named)


def test_what_the_issue_names_can_be_searched():
    for path in (
        "loss.clustering_weight",
        "loss.focal_weight",
        "model.n_neighbors",
        "model.n_clusters",
    ):
        assert unknown_path_fault(path) is None


def test_seeds_and_data_cannot_be_searched():
    searchable = published_values()
    assert "training.seed" not in searchable
    assert not any(path.startswith("data.") for path in searchable)


@pytest.mark.parametrize("path", list(published_values()))
def test_published_values_are_allowed(path):
    assert value_fault(path, published_values()[path]) is None


@pytest.mark.parametrize(
    ("value", "parameter", "fitted"),
    [
        (10.0, floats(0.1, 100, log=True), 10.0),
        (10.0, floats(20, 100), 20.0),
        (10.0, floats(0, 1), 1.0),
        (10.0, floats(0, 100, step=7), 7.0),
        (10.0, floats(0, 9, step=4), 8.0),
        (0.3, floats(0, 0.3, step=0.1), 0.3),
        (10, integers(5, 20), 10),
        (10, integers(2, 30, step=5), 12),
        (10, integers(2, 8, step=4), 6),
        (10.0, integers(1, 5), 5),
        (10, choices(4, 9, 30), 9),
        (10, choices(4, 10, "a"), 10),
        (10, choices("a", "b"), "a"),
        (True, choices(1, False, True), True),
        (1, choices(True, 1), 1),
    ],
)
def test_published_values_are_clipped_stepped_or_the_nearest_choice(value, parameter, fitted):
    result = fit(value, parameter)
    assert result == pytest.approx(fitted)
    assert isinstance(result, bool) == isinstance(fitted, bool)
    assert isinstance(parameter, FloatParameter | CategoricalParameter) or type(result) is int


@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e3, 1e3),
    st.floats(0, 1e3),
    st.none() | st.floats(1e-3, 1e4),
)
def test_a_fitted_value_lies_in_its_range(value, low, width, step):
    parameter = floats(low, low + width, step=step)
    assert parameter.low <= fit(value, parameter) <= parameter.high


@pytest.mark.parametrize(
    ("parameter", "count"),
    [
        (floats(0, 1), None),
        (floats(1, 1), 1),
        (floats(0, 0.3, step=0.1), 4),
        (integers(1, 10), 10),
        (integers(1, 10, step=4), 3),
        (choices(1, 2, 3), 3),
    ],
)
def test_the_values_of_a_range_are_counted(parameter, count):
    assert n_values(parameter) == count


def test_the_published_point_has_one_value_for_each_range():
    searched = study(loss__clustering_weight=floats(20, 30), model__n_neighbors=integers(5, 8))
    assert published_point(searched) == {"loss.clustering_weight": 20.0, "model.n_neighbors": 8}


def test_hyperparameters_make_a_full_trial_configuration():
    searched = study(loss__clustering_weight=floats(1, 30), model__n_neighbors=integers(5, 8))
    trial = trial_config(searched, {"loss.clustering_weight": 3, "model.n_neighbors": 5})
    assert trial.loss.clustering_weight == 3.0
    assert type(trial.loss.clustering_weight) is float
    assert trial.model.n_neighbors == 5
    assert trial.training == TrainingConfig()
    assert trial.data == searched.data


def test_a_hyperparameter_left_out_takes_the_published_value():
    searched = study(loss__clustering_weight=floats(1, 30), model__n_neighbors=integers(5, 8))
    trial = trial_config(searched, {"loss.clustering_weight": 3.0})
    assert (trial.model.n_neighbors, trial.loss.clustering_weight) == (8, 3.0)


def test_combined_values_reach_the_trial_together():
    searched = study(
        training__n_epochs=integers(5, 9), training__n_pretraining_epochs=integers(1, 4)
    )
    trial = trial_config(searched, {"training.n_epochs": 5, "training.n_pretraining_epochs": 4})
    assert (trial.training.n_epochs, trial.training.n_pretraining_epochs) == (5, 4)


@pytest.mark.parametrize(
    ("hyperparameters", "fault"),
    [
        ({"loss.weight": 1.0}, "loss.weight: unknown value"),
        ({"training.seed": 1}, "training.seed: cannot be searched"),
        ({"model.n_clusters": 1}, "model.n_clusters: must be >= 2, got 1"),
        ({"model.n_clusters": 3.0}, "model.n_clusters: must be a whole number, got 3.0"),
        ({"loss.focal_weight": float("nan")}, "loss.focal_weight: must be a finite number"),
        ({"training.n_epochs": 10}, "training.n_pretraining_epochs: must be below n_epochs (10)"),
    ],
)
def test_hyperparameters_that_make_no_trial_are_refused(hyperparameters, fault):
    with pytest.raises(ConfigurationError) as caught:
        trial_config(study(), hyperparameters)
    (found,) = caught.value.faults
    assert found.startswith(fault)


BEYOND_THE_PUBLISHED_RECIPE = {
    "model.synchronized_batch_norm": choices(False, True),
    "model.mask_padding_in_pool": choices(False, True),
    "model.mask_padding_in_neighbors": choices(False, True),
    "model.n_attention_heads": integers(1, 4),
    "model.width_factor": floats(0.5, 2.0),
    "model.embedding_dim": integers(2, 8),
    "model.dropout": floats(0.0, 0.5),
    "loss.centroid_separation_weight": floats(0.0, 10.0),
    "loss.centroid_separation_length": floats(0.1, 10.0, log=True),
    "loss.mass_bin_smoothing": floats(0.0, 0.2),
    "training.learning_rate_schedule": choices("step", "cosine", "constant"),
    "training.learning_rate_warmup_jets": integers(0, 10_000),
}


@pytest.mark.parametrize("path", BEYOND_THE_PUBLISHED_RECIPE)
def test_every_option_can_be_searched_and_starts_at_the_published_recipe(path):
    space = StudyConfig(
        data=DataConfig(path="/jets"), search_space={path: BEYOND_THE_PUBLISHED_RECIPE[path]}
    )
    assert published_point(space) == {path: published_values()[path]}
    parameter = BEYOND_THE_PUBLISHED_RECIPE[path]
    ends = getattr(parameter, "choices", None) or (parameter.low, parameter.high)
    for value in ends:
        name, _, key = path.partition(".")
        assert getattr(getattr(trial_config(space, {path: value}), name), key) == value
