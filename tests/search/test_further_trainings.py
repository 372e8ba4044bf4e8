"""Searches with real workers in which a trial has several trainings."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.status import study_status

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def killed_and_resumed(
    tmp_path: Path, jets_parquet: Path
) -> Iterator[Callable[..., StudiesFolder]]:
    """What runs a search, kills it once it has said a text, and resumes it to its end."""
    started: list[small_study.RunningCommand] = []

    def run(text: str, **sections: Any) -> StudiesFolder:
        fields = {"search_space": SPACE, "resources": {"workers_per_trial": 1}} | sections
        file = small_study.write_study(tmp_path / "jets.yaml", jets_parquet, **fields)
        studies = tmp_path / "studies"
        search = small_study.RunningCommand(tmp_path, "run", file, "--studies-dir", studies)
        started.append(search)
        search.wait_for(text)
        search.send(signal.SIGKILL)
        assert search.end() == -signal.SIGKILL
        search.kill()
        resumed = small_study.call("resume", "jets", "--studies-dir", studies)
        assert resumed.returncode == 0, resumed.stderr[-3000:]
        return StudiesFolder(studies)

    yield run
    for search in started:
        search.kill()


def test_seeds_of_a_trial_survive_a_kill(
    killed_and_resumed: Callable[..., StudiesFolder],
) -> None:
    studies = killed_and_resumed(
        "trial 0001 seed-2 epoch 1/",
        objective={"seeds_per_trial": 2},
        budget={"n_trials": 2},
    )
    record = assert_all_agrees(studies, "jets")
    for trial in record.trials.values():
        assert (trial.outcome, trial.is_whole, trial.epochs_run) == ("complete", True, 6)
        assert trial.spread("clustering_accuracy") is not None
        assert [t.n_epochs_again for t in trial.searched] == [0, 0]
    first, second = study_status(studies.study("jets"))["trials"][0]["trainings"]
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["clustering_accuracy"] != second["clustering_accuracy"]


def test_population_goes_on_from_each_others_checkpoints_after_a_kill(
    killed_and_resumed: Callable[..., StudiesFolder],
) -> None:
    studies = killed_and_resumed(
        "goes on as pbt-",
        training={"n_epochs": 5},
        scheduler={"name": "pbt", "grace_period": 1, "interval": 1},
        budget={"n_trials": 5},
    )
    record = assert_all_agrees(studies, "jets")
    children = [t for trial in record.trials.values() for t in trial.searched if t.plan.parent]
    assert children
    for training in children:
        parent = training.plan.parent
        assert parent is not None
        files = studies.study("jets").trial(parent.trial, parent.training)
        assert files.has_checkpoint(parent.epoch)
        assert training.plan.hyperparameters
        assert training.records[0].epoch == parent.epoch + 1
    assert {trial.outcome for trial in record.trials.values()} == {"complete"}
    assert all(trial.epochs_run == 5 for trial in record.trials.values())
