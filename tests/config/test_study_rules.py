import pytest

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.config.study_rules import warnings_for

CLUSTERS = {"model.n_clusters": {"type": "int", "low": 2, "high": 5}}
WEIGHT = {"loss.focal_weight": {"type": "float", "low": 1.0, "high": 5.0}}


def warnings_of(**sections):
    return warnings_for(StudyConfig.model_validate({"data": {"path": "/jets"}, **sections}))


@pytest.mark.parametrize(
    "metric", ["clustering_accuracy", "clustering_accuracy_batched", "purity"]
)
def test_accuracies_at_different_cluster_counts_are_warned_of(metric):
    (warning,) = warnings_of(search_space=CLUSTERS, objective={"metric": metric})
    assert warning == (
        f"objective.metric: {metric} at different model.n_clusters cannot be compared;"
        " use ari or nmi"
    )
    assert warnings_of(search_space=CLUSTERS, objective={"metric": "nmi"}) == []


def test_a_loss_as_metric_while_its_weights_are_searched_is_warned_of():
    minimize = {"metric": "total_loss", "direction": "minimize"}
    (warning,) = warnings_of(search_space=WEIGHT, objective=minimize)
    assert "total_loss changes its meaning with loss.focal_weight" in warning


def test_more_trials_than_points_are_warned_of():
    few = {"search_space": CLUSTERS, "objective": {"metric": "nmi"}, "budget": {"n_trials": 5}}
    (warning,) = warnings_of(**few, sampler={"name": "random"})
    assert warnings_of(**few) == []  # a grid, which ends with its last point
    assert warning.startswith("budget.n_trials: 5 trials, but search_space has only 4 different")
    (warning,) = warnings_of(budget={"n_trials": 2})
    assert "nothing to search" in warning
    assert warnings_of(search_space=WEIGHT, budget={"n_trials": 500}) == []


def test_tpe_that_never_learns_is_warned_of():
    budget = {"n_trials": 4}
    (warning,) = warnings_of(search_space=WEIGHT, budget=budget, sampler={"name": "tpe"})
    assert warnings_of(search_space=WEIGHT, budget=budget) == []
    assert warning.startswith("sampler.n_startup_trials: with 4 of 4 trials")


def test_a_grace_period_of_all_epochs_is_warned_of():
    (warning,) = warnings_of(scheduler={"grace_period": 200})
    assert "no trial is ever stopped early" in warning


def test_an_end_that_no_step_reaches_is_warned_of():
    space = {"loss.focal_weight": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.3}}
    (warning,) = warnings_of(search_space=space)
    assert warning == (
        "search_space.loss.focal_weight.high: 1.0 is never reached in steps of 0.3, the last value"
        " is 0.9"
    )
    space["loss.focal_weight"]["step"] = 0.1
    assert warnings_of(search_space=space) == []
