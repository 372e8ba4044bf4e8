"""Constraints and points to try first: what is refused, with its remedy, before anything runs."""

import pytest

from tests.study_events import study_config
from ucluster_tune.config.automatic import grid_fault
from ucluster_tune.config.constraints import are_met, constraint_warnings, share_met
from ucluster_tune.config.expressions import Condition
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import ConfigurationError

FILE = """
data: {path: jets}
search_space:
  model.n_neighbors: {type: int, low: 4, high: 20, step: 4}
  loss.focal_weight: {type: float, low: 0.0, high: 1.0}
"""


def faults_of(tmp_path, text):
    file = tmp_path / "jets.yaml"
    file.write_text(FILE + text)
    with pytest.raises(ConfigurationError) as raised:
        load_study_config(file)
    return raised.value.faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("constraints: model.n_neighbors < 3", "constraints: must be a list of conditions, got"),
        ("constraints: [3]", "constraints[0]: must be a condition, got 3"),
        ("constraints: [model.n_neighbours < 30]", "did you mean model.n_neighbors?"),
        ("constraints: [model.n_neighbors + 1]", "compares nothing; write a condition such as"),
        ("constraints: ['open(\"x\") < 3']", "known are min(a, b), max(a, b), sqrt(a)"),
        ("constraints: [loss.focal_weight > 1]", "none of 2000 points drawn from search_space"),
        ("sampler: {try_first: [{model.n_neighbors: 7}]}", "no value of its range, whose nearest"),
        ("sampler: {try_first: [{model.n_clusters: 3}]}", "is not searched; leave it out"),
        ("sampler: {name: grid}", "grid needs a step or choices for loss.focal_weight"),
        (
            "constraints: [model.n_neighbors <= 8]\n"
            "sampler: {try_first: [{model.n_neighbors: 12, loss.focal_weight: 0.5}]}",
            "sampler.try_first[0]: breaks constraints[0], model.n_neighbors <= 8",
        ),
    ],
)
def test_each_fault_says_what_helps(tmp_path, text, fault):
    (found,) = faults_of(tmp_path, text)
    assert fault in found


def test_share_of_a_space_is_that_of_its_area():
    study = study_config(
        search_space={"loss.focal_weight": {"type": "float", "low": 0.0, "high": 1.0}},
        constraints=["loss.focal_weight * loss.focal_weight < 0.25"],
    )
    assert share_met(study) == pytest.approx(0.5, abs=0.05)
    assert are_met(study, {"loss.focal_weight": 0.49})
    assert not are_met(study, {"loss.focal_weight": 0.51})


def test_constraint_hardly_ever_met_and_a_published_recipe_that_breaks_one_are_warned_of():
    study = study_config(
        search_space={"loss.focal_weight": {"type": "float", "low": 0.0, "high": 1.0}},
        constraints=["loss.focal_weight < 0.004"],
    )
    few, published = constraint_warnings(study)
    assert "of the search space fulfils them" in few
    assert published.startswith("sampler.published_first: the published recipe breaks")


def test_value_that_is_not_searched_counts_with_its_fixed_value(tmp_path):
    file = tmp_path / "jets.yaml"
    file.write_text(
        FILE
        + "training: {global_batch_size: 64}\n"
        + "constraints: [model.n_neighbors * training.global_batch_size <= 512]\n"
    )
    study = load_study_config(file)
    assert are_met(study, {"model.n_neighbors": 8})
    assert not are_met(study, {"model.n_neighbors": 12})
    assert grid_fault(study) is None


@pytest.mark.parametrize(
    "text",
    [
        "a.b",
        "a.b < 3; import os",
        "a.b < (lambda: 3)()",
        "a.b < [1, 2]",
        "a.b is 3",
        "a.b < 'x' * 3 if 1 else 2",
        "a.b < (yield)",
        "a.b < 3 # " + "x" * 1000,
    ],
)
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Condition(text)


def test_condition_that_cannot_be_computed_does_not_hold():
    assert not Condition("1 / a.b > 2").holds({"a.b": 0})
    assert not Condition("9 ** 9 ** 9 ** 9 > a.b").holds({"a.b": 0})
    assert not Condition("a.b < 3").holds({"a.b": "step"})
