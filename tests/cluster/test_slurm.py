"""docs/clusters/slurm.sh in a real Slurm: a search that is stopped, requeued and carried on."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_study
from tests.agreement import assert_optuna_agrees
from tests.cluster.hosts import CHECKOUT, SHARED
from tests.cluster.slurm_cluster import SlurmCluster, running_slurm
from ucluster_tune.study.journal import read_record

SCRIPT = CHECKOUT / "docs" / "clusters" / "slurm.sh"
EXPORTS = (
    f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={CHECKOUT}"
    f" UCLUSTER_TUNE_STUDIES={SHARED}/studies TF_CPP_MIN_LOG_LEVEL=2"
)


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def slurm() -> Iterator[SlurmCluster]:
    # A short path, which Ray's sockets are to fit in.
    with (
        tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder,
        running_slurm(Path(folder), n_nodes=2) as cluster,
    ):
        yield cluster


def wait_for(happens: Callable[[], Any], told: Callable[[], str], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def events(studies: Path) -> list[dict[str, Any]]:
    record = studies / "jets" / "record.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.faults
def test_search_goes_on_after_its_job_was_requeued_and_nothing_is_left(
    slurm: SlurmCluster,
) -> None:
    small_study.write_small_dataset(slurm.shared / "jets")
    small_study.write_study(
        slurm.shared / "jets.yaml",
        Path(SHARED) / "jets",
        budget={"n_trials": 2},
        training={"n_epochs": 12},
        resources={"placement": "strict_spread", "max_concurrent_trials": 1},
    )
    studies, log = slurm.shared / "studies", slurm.shared / "job.log"
    studies.mkdir()
    job = slurm.call(
        *("sbatch", "--parsable", "--cpus-per-task=2", f"--output={SHARED}/job.log"),
        *(str(SCRIPT), "jets", "jets.yaml", "--set", "sampler.seed=3"),
        folder=SHARED,
        exports=EXPORTS,
    ).strip()
    assert job.isdigit(), job

    def told() -> str:
        return f"{slurm.state(job)}\n{log.read_text() if log.exists() else ''}\n{slurm.logs()}"

    wait_for(lambda: any(event["event"] == "epoch" for event in events(studies)), told)
    private = studies / f".slurm-{job}"
    assert private.stat().st_mode & 0o077 == 0
    assert (private / "token").stat().st_mode & 0o077 == 0
    token = (private / "token").read_text()
    assert len(token) == 64
    assert "2 nodes, 4 CPUs, 0 GPUs" in log.read_text()
    slurm.call("scancel", "--batch", "--signal=USR1", job)
    wait_for(lambda: slurm.state(job) == "COMPLETED", told)

    text = log.read_text()
    assert f"Study jets goes on in the next run of job {job}" in text
    assert token not in text
    record = read_record(studies / "jets" / "record.jsonl")
    assert (record.state, record.n_sessions) == ("complete", 2)
    for trial in record.trials.values():
        assert (trial.outcome, trial.n_epochs_again) == ("complete", 0)
        assert [epoch.epoch for epoch in trial.records] == list(range(1, 13))
    assert_optuna_agrees(record, f"sqlite:///{studies}/jets/optuna.db", "jets")
    assert not private.exists()
    wait_for(lambda: not slurm.processes(), lambda: str(slurm.processes()), 20)
