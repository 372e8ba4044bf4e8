"""A search on jets that have no classes, with real workers, and every command after it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import small_study
from tests.mlflow_store import WithStore
from tests.small_datasets import without_classes, write_tables
from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder, StudyPaths

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory, jets_parquet: Path) -> Path:
    """The small data set, its classes taken away."""
    tables = {
        s: without_classes(pq.read_table(jets_parquet / f"{s}-00000.parquet")) for s in SPLITS
    }
    return Path(write_tables(tmp_path_factory.mktemp("nameless") / "jets", tables))


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, nameless: Path, with_store: WithStore
) -> StudyPaths:
    """A search of three trials by their stability, one worker each."""
    folder = tmp_path_factory.mktemp("unlabelled")
    file = small_study.write_study(
        folder / "tiny.yaml",
        nameless,
        search_space={"training.learning_rate": RATE},
        objective={"metric": "stability"},
        budget={"n_trials": 3},
        resources={"workers_per_trial": 1},
    )
    studies = with_store(folder / "studies")
    done = small_study.call("run", file, "--studies-dir", studies)
    assert done.returncode == 0, done.stderr
    assert "accuracy" not in done.stderr
    return StudiesFolder(studies).study("tiny")


def test_the_search_ends_with_a_best_trial_and_a_report(study: StudyPaths) -> None:
    record = read_record(study.record)
    assert (record.state, record.is_labelled, len(record.trials)) == ("complete", False, 3)
    assert record.best is not None
    assert (record.yardsticks, record.best_test, record.baselines) == (None, None, {})
    assert study.report_page.exists()


def test_trials_are_ranked_and_the_chosen_epoch_is_exported_and_predicts(
    study: StudyPaths, nameless: Path, tmp_path: Path
) -> None:
    studies = ("--studies-dir", str(study.root.parent))
    status, ranked = small_study.call_together(
        ("status", "tiny", "--json", *studies),
        ("select", "tiny", "--without-labels", "--json", *studies),
    )
    told = json.loads(status.stdout)
    assert told["is_labelled"] is False
    assert told["best"]["score"] is not None
    trials = json.loads(ranked.stdout)["trials"]
    assert len(trials) == 3
    assert all(trial["clustering_accuracy"] is None for trial in trials)
    assert sorted(trial["cross_space"] for trial in trials)[-1] > 0.5
    chosen = trials[0]["checkpoint"]
    exported, predicted = small_study.call_together(
        ("export", chosen, "--to", tmp_path / "best", "--format", "folder"),
        ("predict", chosen, nameless, "--out", tmp_path / "clusters.parquet"),
    )
    assert exported.returncode == 0, exported.stderr
    assert predicted.returncode == 0, predicted.stderr
    clusters = pq.read_table(tmp_path / "clusters.parquet")
    assert clusters["jet_class"].null_count == len(clusters) == 240
