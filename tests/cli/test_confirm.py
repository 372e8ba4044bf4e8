"""`confirm` with real workers: killed in the middle, carried on, and told."""

import json
import signal
from pathlib import Path

import mlflow
import pytest

from tests import small_study
from tests.mlflow_store import WithStore
from ucluster_tune.study.journal import read_events, read_record
from ucluster_tune.study.paths import StudiesFolder, StudyPaths

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, jets_parquet: Path, with_store: WithStore
) -> StudyPaths:
    """A search of two trials, the published recipe first, on one worker each."""
    folder = tmp_path_factory.mktemp("confirm")
    file = small_study.write_study(
        folder / "tiny.yaml",
        jets_parquet,
        search_space={"training.learning_rate": RATE},
        budget={"n_trials": 2},
        resources={"workers_per_trial": 1},
    )
    studies = with_store(folder / "studies")
    done = small_study.call("run", file, "--studies-dir", studies)
    assert done.returncode == 0, done.stderr
    return StudiesFolder(studies).study("tiny")


def test_search_measures_its_yardsticks_beside_its_start(study: StudyPaths) -> None:
    events = [event.event for event in read_events(study.record)]
    assert events.count("yardsticks_measured") == 1
    assert events.index("yardsticks_measured") < events.index("study_ended")


def test_confirmation_that_is_killed_goes_on_and_answers(
    study: StudyPaths, tmp_path: Path
) -> None:
    words = ["confirm", "tiny", "--studies-dir", str(study.root.parent)]
    asked = ["--top", "2", "--seeds", "2", "--supervised"]
    search = small_study.RunningCommand(tmp_path, *words, *asked)
    try:
        search.wait_for("epoch 2/3")
        search.process.send_signal(signal.SIGKILL)
        search.end()
    finally:
        search.kill()
    assert read_record(study.record).open_confirmation is not None
    done = small_study.call(*words)
    assert done.returncode == 0, done.stderr
    record = read_record(study.record)
    assert record.open_confirmation is None
    assert (record.state, len(record.trials), record.n_sessions) == ("complete", 2, 1)
    confirmed = record.confirmed
    assert confirmed is not None
    plan, result = confirmed.plan, confirmed.result
    assert result is not None
    assert plan.published in plan.finalists  # the sampler's first suggestion
    assert all(len(contender.seeds) == 2 for contender in result.contenders)
    for trial, training in plan.trainings():  # no epoch is lost, none is there twice
        trials = record.trials if trial in plan.finalists else record.other_trials
        found = trials[trial].trainings[training.id]
        assert [epoch.epoch for epoch in found.records] == [1, 2, 3]
        assert found.test is not None
    for contender in result.contenders:
        accuracies = [test.clustering_accuracy for test in contender.by_seed]
        mean = contender.test["clustering_accuracy"].mean
        assert mean == pytest.approx(sum(accuracies) / len(accuracies))
    assert [c.trial for c in result.contenders if c.uses_labels] == ["supervised"]
    assert result.words[0] in " ".join(done.stdout.split())
    assert "same network trained with labels" in " ".join(done.stdout.split())
    client = mlflow.MlflowClient(tracking_uri=record.tracking_uri)
    assert record.run_id is not None
    described = client.get_run(record.run_id).data.tags["mlflow.note.content"]
    assert described.startswith(result.words[0])
    status = small_study.call("status", *words[1:], "--json")
    told = json.loads(status.stdout)["confirmations"]
    assert told[0]["result"]["words"] == result.words
