"""Conditions, derived values and lists: what a point holds and what a file with them may say."""

import math

import pytest

from tests.study_events import study_config
from ucluster_tune.config.automatic import grid
from ucluster_tune.config.constraints import are_met
from ucluster_tune.config.loading import dump_config, load_study_config
from ucluster_tune.config.one_trial import study_of_one, trial_config_of
from ucluster_tune.config.points import (
    SearchSpace,
    derived_values,
    least_and_most,
    published_point,
    trial_config,
)
from ucluster_tune.config.study_rules import warnings_for
from ucluster_tune.errors import ConfigurationError

FILE = """
data: {path: /jets}
resources: {workers_per_trial: 4}
search_space:
  model.n_attention_heads: {type: int, low: 1, high: 3}
  model.dropout:
    {type: float, low: 0.1, high: 0.5, step: 0.2, when: model.n_attention_heads > 1}
  loss.mass_bin_smoothing: {type: float, low: 0.1, high: 0.2, step: 0.1, when: model.dropout > 0.2}
  model.first_widths: {type: categorical, choices: [[64, 128], [32, 64]]}
  base: {type: float, low: 1e-4, high: 1e-2, log: true}
derived:
  training.learning_rate: base * sqrt(n_workers)
"""


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "jets.yaml"
    file.write_text(FILE)
    return load_study_config(file)


def faults_of(tmp_path, text):
    file = tmp_path / "jets.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_study_config(file)
    return raised.value.faults


def test_hyperparameter_is_part_of_a_point_where_its_condition_holds(study):
    space = SearchSpace(study)
    asked = {"model.n_attention_heads": 1, "model.dropout": 0.3, "base": 1e-3}
    point, values = space.completed(asked)
    assert "model.dropout" not in point
    assert values["model.dropout"] == 0.0  # the published value, outside of the range
    assert "loss.mass_bin_smoothing" not in point  # whose condition sees that value
    point, _ = space.completed(asked | {"model.n_attention_heads": 2})
    assert point["model.dropout"] == 0.3
    assert point["loss.mass_bin_smoothing"] == 0.1


def test_trial_has_what_the_point_comes_to(study):
    trial = trial_config(study, {"model.n_attention_heads": 1, "base": 1e-3})
    assert trial.model.dropout == 0.0
    assert trial.training.learning_rate == pytest.approx(2e-3)
    assert trial.model.first_widths == (64, 128)
    other = trial_config(study, {"model.first_widths": "[32, 64]", "base": 2e-3})
    assert other.model.first_widths == (32, 64)
    assert derived_values(study, {"base": 2e-3}) == {"training.learning_rate": 4e-3}


def test_published_point_leaves_out_what_has_no_part_in_it(study):
    point = published_point(study)
    assert set(point) == {"model.n_attention_heads", "model.first_widths", "base"}
    assert point["base"] == pytest.approx(math.sqrt(1e-4 * 1e-2))  # none is published


def test_study_is_the_same_when_it_was_written_and_read(tmp_path, study):
    written = tmp_path / "again.yaml"
    written.write_text(dump_config(study))
    assert load_study_config(written) == study


def test_best_configuration_says_what_was_derived_and_nothing_is_derived_there(tmp_path, study):
    point = {"model.n_attention_heads": 2, "model.dropout": 0.5, "base": 1e-3}
    best = study_of_one(study, trial_config(study, point))
    written = tmp_path / "best.yaml"
    written.write_text(dump_config(best))
    read = trial_config_of(load_study_config(written))
    assert read == trial_config(study, point)
    assert read.training.learning_rate == pytest.approx(2e-3)


def test_file_that_searches_nothing_is_trained_with_its_derived_values(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text("data: {path: /jets}\nderived: {training.learning_rate: 1e-3 * sqrt(4)}\n")
    assert trial_config_of(load_study_config(file)).training.learning_rate == 2e-3


def test_grid_has_no_point_twice_that_a_condition_makes_the_same():
    space = {
        "model.n_attention_heads": {"type": "int", "low": 1, "high": 2},
        "model.dropout": {
            "type": "categorical",
            "choices": [0.1, 0.2, 0.3],
            "when": "model.n_attention_heads > 1",
        },
    }
    study = study_config(search_space=space, sampler={"name": "grid"})
    points = grid(study)
    assert len(points) == 4  # in place of 2 x 3
    assert {"model.n_attention_heads": 1} in points


def test_constraint_sees_derived_values_and_those_that_a_condition_leaves(study):
    limited = study.model_copy(
        update={"constraints": ("training.learning_rate < 4e-3", "model.dropout < 0.4")}
    )
    assert are_met(limited, {"base": 1.9e-3, "model.n_attention_heads": 1, "model.dropout": 0.5})
    assert not are_met(limited, {"base": 2.1e-3})
    high = {"base": 1e-3, "model.n_attention_heads": 2, "model.dropout": 0.5}
    assert not are_met(limited, high)


def test_bounds_know_of_the_published_value_that_a_condition_leaves():
    n_neighbors = {"type": "int", "low": 4, "high": 6, "when": "model.n_clusters > 3"}
    study = study_config(
        search_space={
            "model.n_clusters": {"type": "int", "low": 2, "high": 5},
            "model.n_neighbors": n_neighbors,
        },
        derived={"training.global_batch_size": "16 * model.n_clusters"},
    )
    assert least_and_most(study, "model.n_neighbors") == (4, 10)
    assert least_and_most(study, "training.global_batch_size") == (32, 80)


RANGE = "{type: float, low: 0.1, high: 0.5, when: %s}"
HEADS = "model.n_attention_heads: {type: int, low: 1, high: 3, when: model.dropout > 0}"
SEARCH = "data: {path: /jets}\nsearch_space:\n  "


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            f"{SEARCH}model.dropout: {RANGE % 'model.n_heads > 1'}",
            "search_space.model.dropout.when: 'model.n_heads > 1': unknown value model.n_heads;",
        ),
        (
            f"{SEARCH}model.dropout: {RANGE % 'model.n_attention_heads'}",
            "compares nothing; write a condition",
        ),
        (
            f"{SEARCH}model.dropout: {RANGE % 'model.n_attention_heads > 1'}\n  {HEADS}",
            "depends on itself: model.",
        ),
        (
            f"{SEARCH}model.dropout: {RANGE % 'model.dropout > 1'}",
            "search_space.model.dropout.when: depends on itself: model.dropout -> model.dropout",
        ),
        (
            "data: {path: /jets}\nderived: {training.learning_rate: learning_rate * 2}",
            "derived.training.learning_rate: 'learning_rate * 2': unknown value learning_rate;",
        ),
        (
            "data: {path: /jets}\nderived: {training.learning_rate: 2}",
            "derived.training.learning_rate: must be a formula, got 2",
        ),
        ("data: {path: /jets}\nderived: 3", "derived: must be a mapping of formulas, got 3"),
        (
            "data: {path: /jets}\nderived: {training.n_epochs: 3 * 7}",
            "derived.training.n_epochs: cannot be derived",
        ),
        (
            "data: {path: /jets}\nderived: {training.rate: 3 * 7}",
            "derived.training.rate: unknown value; did you mean training.learning_rate?",
        ),
        (
            "data: {path: /jets}\ntraining: {learning_rate: 1}\n"
            "derived: {training.learning_rate: 3 * 7}",
            "training.learning_rate: has a fixed value, 1, and is derived; leave one out",
        ),
        (
            f"{SEARCH}model.dropout: {{type: float, low: 0.1, high: 0.5}}\n"
            "derived: {model.dropout: 0.1 * 3}",
            "derived.model.dropout: is derived and searched; leave one out",
        ),
        (
            "data: {path: /jets}\nderived: {model.n_clusters: 7 / 2}",
            "derived: model.n_clusters: must be a whole number, got 3.5",
        ),
        (
            "data: {path: /jets}\nderived: {training.learning_rate: 1 / (n_workers - 1)}",
            "derived: training.learning_rate: cannot be computed",
        ),
        (
            f"{SEARCH}base: {{type: float, low: -1.0, high: 0.5}}\n"
            "derived: {training.learning_rate: base}",
            "derived: training.learning_rate: must be > 0, got -0.25 at base=-0.25",
        ),
        (
            f"{SEARCH}base: {{type: float, low: 0.1, high: 0.5}}",
            "search_space.base: unknown value",
        ),
        (
            f"{SEARCH}base: {RANGE % 'model.n_clusters > 2'}\n"
            "derived: {training.learning_rate: base}",
            "search_space.base.when: base has no value where its condition does not hold",
        ),
        (
            f"{SEARCH}model.first_widths: {{type: categorical, choices: [[64, 128], [64]]}}",
            "search_space.model.first_widths.choices[1]: model.first_widths required, but",
        ),
        (
            f"{SEARCH}model.n_neighbors: {{type: int, low: 4, high: 9, prior: {{center: 10}}}}",
            "search_space.model.n_neighbors.prior.center: is no value of its range, whose nearest"
            " is 9, got 10",
        ),
        (
            f"{SEARCH}model.n_neighbors: {{type: int, low: 4, high: 9, prior: {{}}}}",
            "prior.center: not given, and the published value is no value of its range",
        ),
        (
            f"{SEARCH}model.n_neighbors: {{type: int, low: 4, high: 9, prior: {{middle: 5}}}}",
            "search_space.model.n_neighbors.prior.middle: unknown key;",
        ),
        (
            f"{SEARCH}model.n_neighbors:"
            " {type: int, low: 4, high: 9, prior: {center: 5, confidence: sure}}",
            "search_space.model.n_neighbors.prior.confidence: must be one of low, medium, high",
        ),
        (
            f"{SEARCH}base: {{type: float, low: 0.1, high: 0.5, prior: {{confidence: low}}}}\n"
            "derived: {training.learning_rate: base}",
            "base.prior.center: required, since nothing is published for base",
        ),
        (
            f"{SEARCH}model.first_widths: {{type: int, low: 1, high: 3}}",
            "search_space.model.first_widths.type: must be categorical, with choices such as"
            " [64, 128]",
        ),
        (
            f"{SEARCH}model.first_widths: {{type: categorical, choices: [[8, 8], [8, 8]]}}",
            "must not repeat",
        ),
    ],
)
def test_each_fault_is_found_before_anything_runs_and_says_what_helps(tmp_path, text, fault):
    (found,) = faults_of(tmp_path, text)
    assert fault in found


def test_condition_that_never_holds_is_warned_of(tmp_path):
    file = tmp_path / "jets.yaml"
    file.write_text(f"{SEARCH}model.dropout: {RANGE % 'model.n_clusters > 3'}")
    (warning,) = [w for w in warnings_for(load_study_config(file)) if ".when" in w]
    assert "held at none of 200 points drawn" in warning
