"""What becomes of a trial's workers when another trial follows in the same process of Tune's."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests import small_study
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.trainable import EPOCH, NOTE, UClusterTrainable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its pipes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:placement_group parameter is deprecated"),  # Horovod 0.28
    pytest.mark.filterwarnings("ignore:placement_group_.* parameter is deprecated"),
]
TIMES = ("seconds", "jets_per_second")


def tune_config(jets, folder, **training):
    """What the driver tells Tune of a trial of two epochs."""
    training = {"n_epochs": 2, **training}
    return {
        "task": small_study.task_of(jets, folder, training=training, model={"dropout": 0.1}),
        "resources": ResourcesConfig(workers_per_trial=2),
        "max_retries": 0,
    }


class Process(UClusterTrainable):
    """Tune's process of a trial, and of others after it; Tune's own part is left out."""

    def __init__(self, config):
        self.setup(config)

    @property
    def workers(self):
        """The processes of its workers."""
        return {process.pid for process in small_study.worker_processes()}

    def epochs(self):
        """All records of the trial, but for times."""
        records, is_done = [], False
        while not is_done:
            result = self.step()
            assert result[NOTE].failure is None
            assert result[NOTE].retries == ()
            records.append({k: v for k, v in asdict(result[EPOCH]).items() if k not in TIMES})
            is_done = result["done"]
        return records


@pytest.fixture(scope="module")
def process(ray_on_two_cpus, jets_parquet, tmp_path_factory):
    """A process of Tune's, without workers yet."""
    process = Process(tune_config(jets_parquet, tmp_path_factory.mktemp("trial")))
    yield process
    process.cleanup()
    assert process.workers == set()


@pytest.fixture
def first(process, jets_parquet, tmp_path):
    """The process after a trial of another seed, whose workers it has."""
    process.reset_config(tune_config(jets_parquet, tmp_path / "first", seed=5))
    process.epochs()
    return process


@pytest.fixture
def used(process, request):
    """The process after whatever trial was its last one, whose workers it has."""
    return process if process.workers else request.getfixturevalue("first")


def test_another_trial_gets_the_workers_and_the_numbers_of_fresh_ones(
    first, jets_parquet, tmp_path
):
    workers = first.workers
    assert first.reset_config(tune_config(jets_parquet, tmp_path / "warm"))
    step = first.step()  # stopped early after it
    assert step[NOTE].restored_epoch == 0
    first.reset_config(tune_config(jets_parquet, tmp_path / "again"))
    warm = first.epochs()
    assert first.workers == workers
    first.cleanup()
    first.reset_config(tune_config(jets_parquet, tmp_path / "cold"))
    cold = first.epochs()
    assert first.workers.isdisjoint(workers)
    assert warm == cold
    of_used, of_fresh = (
        read_checkpoint(TrialFiles(tmp_path / name).checkpoint(2)) for name in ("again", "cold")
    )
    for array in ("parameters", "averages", "first_moment", "second_moment"):
        assert np.array_equal(getattr(of_used, array), getattr(of_fresh, array)), array
    for name, n_epochs in (("first", 2), ("warm", 1), ("again", 2), ("cold", 2)):
        log = (tmp_path / name / "workers.log").read_text()
        assert log.count("rank 0 of 2") == log.count("rank 1 of 2") == 1
        assert [log.count(f"epoch {epoch}: ") for epoch in (1, 2)] == [1, n_epochs - 1]


def test_trial_goes_on_from_its_checkpoint_in_used_workers(first, jets_parquet, tmp_path):
    folder = Path(first._task.folder)
    first.reset_config(tune_config(jets_parquet, folder, seed=5, n_epochs=3))
    result = first.step()
    assert (result[EPOCH].epoch, result[NOTE].restored_epoch) == (2, 2)
    assert first.step()[EPOCH].epoch == 3


def test_workers_lost_between_two_trials_are_no_failure_of_the_second(
    used, jets_parquet, tmp_path
):
    workers = used.workers
    small_study.worker_processes()[0].kill()
    used.reset_config(tune_config(jets_parquet, tmp_path / "second"))
    assert len(used.epochs()) == 2
    assert used.workers.isdisjoint(workers)


def test_workers_that_have_grown_are_given_no_other_trial(
    used, jets_parquet, tmp_path, monkeypatch
):
    monkeypatch.setattr(used, "most_growth_mib", -1.0)
    workers = used.workers
    used.reset_config(tune_config(jets_parquet, tmp_path / "second"))
    used.epochs()
    assert used.workers.isdisjoint(workers)


def test_no_worker_outlives_a_failure_of_its_trial(used, jets_parquet, tmp_path):
    used.reset_config(tune_config(jets_parquet, tmp_path / "failed", learning_rate=1e30))
    failure = used.step()[NOTE].failure
    assert failure.kind.name == "training"
    assert used.workers == set()
    used.reset_config(tune_config(jets_parquet, tmp_path / "second"))
    assert len(used.epochs()) == 2
