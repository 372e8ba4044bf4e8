import json
from urllib.parse import parse_qs, urlsplit

from tests.study_events import four_trials, started, study_config
from ucluster_tune.study.events import TrialTracked
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.mlflow.pages import (
    compared_runs,
    curves_page,
    runs_page,
    trials_view,
    view_key,
)


def test_of_many_trials_the_best_are_compared_in_order_of_trial() -> None:
    first, *others = four_trials()
    record = StudyRecord(first)
    for event in others:
        record.apply(event)
    for trial_id in record.trials:
        record.apply(TrialTracked(trial=trial_id, run_id=f"run-{trial_id}"))
    assert compared_runs(record) == ["run-0001", "run-0002", "run-0003", "run-0004"]
    by_rank = sorted(record.trials.values(), key=lambda trial: trial.rank or (False, 0.0))
    assert compared_runs(record, 2) == sorted(f"run-{trial.id}" for trial in by_rank[-2:])
    assert "run-0001" in compared_runs(record, 1)


def test_curves_are_drawn_with_the_reference() -> None:
    fragment = urlsplit(curves_page("http://h:1/", "7", ["a", "b"])).fragment
    query = parse_qs(fragment.partition("?")[2])
    assert fragment.startswith("/metric?")
    assert query["runs"] == ['["a","b"]']
    assert query["experiments"] == ['["7"]']
    assert query["plot_metric_keys"] == ['["clustering_accuracy_batched","reference_accuracy"]']


def test_a_view_shows_the_trials_of_one_study_as_status_ranks_them() -> None:
    space = {"training.learning_rate": {"type": "float", "low": 0.0, "high": 1.0}}
    record = StudyRecord(started(study_config(search_space=space)))
    state = json.loads(trials_view(record, "abc"))
    assert state["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc'"
    assert (state["orderByKey"], state["orderByAsc"]) == (
        "metrics.`best_clustering_accuracy`",
        False,
    )
    assert state["selectedColumns"][0] == "metrics.`best_clustering_accuracy`"
    assert state["selectedColumns"][-1] == "params.`training.learning_rate`"
    page = runs_page("http://h:1", "7", view_key(record))
    assert f"viewStateShareKey=jets-{record.study_id[:6]}&" in page
    assert len(page) < 100


def test_trials_of_several_seeds_are_ranked_by_their_mean() -> None:
    config = study_config(objective={"metric": "silhouette", "seeds_per_trial": 3})
    state = json.loads(trials_view(StudyRecord(started(config)), "abc"))
    assert state["orderByKey"] == "metrics.`mean_silhouette`"
    assert state["selectedColumns"][0] == state["orderByKey"]
    assert state["selectedColumns"][1] == "metrics.`best_silhouette`"
