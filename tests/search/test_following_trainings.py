"""Tune runs trials that go on as other trainings; the trainings are trivial."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from tests.search.test_suggestions import Search
from tests.study_events import epoch
from ucluster_tune.search.tuning import run_trials
from ucluster_tune.trial.trainable import EPOCH, NOTE, ResultNote

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.filterwarnings("default")]

SECTIONS: dict[str, dict[str, Any]] = {
    "seeds": {"scheduler": {"name": "none"}, "objective": {"seeds_per_trial": 2}},
    "pbt": {"scheduler": {"name": "pbt", "grace_period": 1, "interval": 1}},
}
WORSE_AND_WORSE = [{"training.learning_rate": rate} for rate in (0.9, 0.7, 0.5, 0.3, 0.1)]


class Going(tune.Trainable):
    """Gains accuracy in proportion to its rate, from the epoch of which its start tells."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        task = new_config["task"]
        self.rate = task.config.training.learning_rate
        self.n_before = int(Path(task.start).stem.removeprefix("epoch-")) if task.start else 0
        self.n_done = 0
        group = ray.util.get_current_placement_group()
        assert group is not None
        n_bundles = sum(bundle.get("CPU", 0) > 0 for bundle in group.bundle_specs)
        assert n_bundles == new_config["resources"].n_workers
        return True

    def step(self) -> dict[str, Any]:
        self.n_done += 1
        number = self.n_before + self.n_done
        told = epoch("", number, self.rate * number / 6).record
        return {EPOCH: told, NOTE: ResultNote(), "done": number == 6}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray of two CPUs."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.usefixtures("two_cpus")
def test_tune_runs_all_trainings_of_all_trials(tmp_path: Path, kind: str) -> None:
    search = Search(
        tmp_path,
        budget={"n_trials": 5},
        sampler={"name": "random", "seed": 3, "try_first": WORSE_AND_WORSE},
        failures={"max_retries": 0},
        resources={"workers_per_trial": 1},
        **SECTIONS[kind],
    )
    try:
        run_trials(search.driver, search.sampler, lambda: 2, print, lambda: None, Going)
    finally:
        search.journal.close()
    trials = search.driver.record.trials.values()
    assert len(trials) == 5
    assert {trial.outcome for trial in trials} <= {"complete", "stopped_early"}
    further = [training for trial in trials for training in trial.searched[1:]]
    assert further
    assert not search.driver.record.running_trainings
    for trial in trials:
        assert [record.epoch for record in trial.records] == list(range(1, trial.epochs + 1))
    assert {training.plan.world_size for training in further} == {1}
