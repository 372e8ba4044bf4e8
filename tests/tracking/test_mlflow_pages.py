from urllib.parse import parse_qs, urlsplit

from tests.study_events import four_trials
from ucluster_tune.study.events import TrialTracked
from ucluster_tune.study.record import StudyRecord
from ucluster_tune.tracking.mlflow.pages import compared_runs, curves_page, runs_page


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


def test_table_holds_one_study() -> None:
    fragment = urlsplit(runs_page("http://h:1", "7", "jets.v2")).fragment
    assert parse_qs(fragment.partition("?")[2])["searchFilter"] == [
        "tags.`ucluster_tune.study` = 'jets.v2'"
    ]
