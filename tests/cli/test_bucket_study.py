"""A study that lies in a bucket, driven from one machine after the other.

A machine is a folder of working copies: what another one has of the study is not seen there.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.s3_server import S3Server, name_s3_server
from ucluster_tune.study.bucket.claim import DEAD_AFTER_S
from ucluster_tune.study.bucket.copy import record_in_bucket
from ucluster_tune.study.logs import log_text
from ucluster_tune.study.paths import STUDIES_VARIABLE, StudyPaths, open_studies

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.faults]

N_EPOCHS = 80
N_LOST = 3  # epochs that the first machine had not sent when it went
STUDIES, NAME = "studies", "far"


class Machine:
    """A machine from which the study is looked at or driven."""

    def __init__(self, folder, studies):
        self.folder, self.copies, self._studies = folder, folder / "copies", studies
        folder.mkdir()
        self.running: small_study.RunningCommand | None = None

    @property
    def variables(self):
        return {"UCLUSTER_TUNE_CACHE": str(self.copies), STUDIES_VARIABLE: self._studies}

    def call(self, *arguments):
        return small_study.call(*arguments, variables=self.variables)

    def told(self, *arguments):
        """What a command that succeeds prints as JSON."""
        answer = self.call(*arguments, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def start(self, *arguments):
        self.running = small_study.RunningCommand(self.folder, *arguments, **self.variables)
        return self.running

    def epochs(self):
        """How many epochs the driver here has told of."""
        assert self.running is not None
        return self.running.err.read_text().count("trial 0001 epoch ")

    def open(self, monkeypatch):
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)
        return open_studies()


@pytest.fixture(scope="module")
def bucket(s3_service: S3Server) -> Iterator[str]:
    """The URI of an empty bucket, whose server the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        s3_service.reset()
        name_s3_server(patch, s3_service.endpoint)
        yield s3_service.make_bucket("far")


def forget_last_lines(machine, n_lines):
    """Have the bucket's record end earlier, as if the driver had died before it sent the rest."""
    with pytest.MonkeyPatch.context() as patch:
        paths = machine.open(patch).study(NAME)
        segment = paths.segments / record_in_bucket(paths)[-1].name
        lines = segment.read_bytes().splitlines(keepends=True)
        assert all(b'"event":"epoch"' in line for line in lines[-n_lines:])
        segment.write_bytes(b"".join(lines[:-n_lines]))


@pytest.fixture(scope="module")
def travelled(bucket, s3_service, jets_parquet, tmp_path_factory):
    """A study begun on one machine, which a second one watched; carried on by a third one, then
    by the second to its end."""
    folder = tmp_path_factory.mktemp("travelled")
    studies = f"{bucket}/{STUDIES}"
    first, second, third = (Machine(folder / n, studies) for n in ("first", "second", "third"))
    jets = s3_service.upload(jets_parquet, bucket.removeprefix("s3://"))
    file = small_study.write_study(
        folder / f"{NAME}.yaml",
        jets,
        data={"path": jets},
        training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
        resources={"workers_per_trial": 1},
    )
    claim = (bucket.removeprefix("s3://"), f"{STUDIES}/{NAME}/driver.json")
    try:
        running = first.start("run", file)
        running.wait_for("trial 0001 epoch 5/")
        running.signal_workers(signal.SIGSTOP)  # training waits while all else is looked at
        time.sleep(2)  # longer than what is new takes to be sent
        n_first = first.epochs()
        status, listed, second_driver, second_run, workers_log = small_study.call_together(
            ("status", NAME, "--json"),
            ("list", "--json"),
            ("resume", NAME),
            ("run", file),
            ("logs", NAME, "--trial", "0001", "--lines", "10000"),
            variables=second.variables,
        )

        running.process.kill()
        running.end()
        left_over = running.left_over(timeout_s=30)
        too_early = second.call("resume", NAME)
        shutil.rmtree(first.copies)
        forget_last_lines(first, N_LOST)
        s3_service.age(*claim, DEAD_AFTER_S + 1)
        after_kill = third.told("status", NAME)

        running = third.start("resume", NAME)
        running.wait_for(f"trial 0001 epoch {n_first + 5}/")
        running.signal_workers(signal.SIGSTOP)
        stopping = second.start("stop", NAME)
        running.wait_for("Stopping after the running epochs")
        running.signal_workers(signal.SIGCONT)
        stopped_with = running.end(), stopping.end()
        stop_says = stopping.out.read_text()
        resumed_says = running.err.read_text()
        n_third = third.told("status", NAME)["trials"][0]["epochs"]

        running = second.start("resume", NAME)
        ended_with = running.end()
        ended_says = running.err.read_text()
        yield SimpleNamespace(**locals())
    finally:
        for machine in (first, second, third):
            if machine.running is not None:
                machine.running.kill()


def test_study_is_seen_from_another_machine_while_it_runs(travelled):
    told = json.loads(travelled.status.stdout)
    assert told["state"] == "running"
    assert told["trials"][0]["epochs"] == travelled.n_first
    (listed,) = json.loads(travelled.listed.stdout)
    assert (listed["name"], listed["state"]) == (NAME, "running")


def test_log_of_the_workers_is_read_from_another_machine_while_they_run(travelled):
    assert "rank 0 of 1 on " in travelled.workers_log.stdout, travelled.workers_log.stderr


def test_log_of_the_last_driver_is_read_from_a_machine_that_drove_the_study_before(
    travelled, monkeypatch
):
    written = travelled.second.open(monkeypatch).study(NAME).log.read_text()
    paths = travelled.third.open(monkeypatch).study(NAME)
    assert paths.log.read_text() != written
    assert "".join(log_text(paths, None, 100_000)) == written


def test_second_driver_is_refused_on_whatever_machine(travelled):
    refused = travelled.second_driver
    assert refused.returncode == 1
    process = travelled.first.running.process.pid
    assert f"study {NAME} is being run by process {process} on " in refused.stderr
    assert travelled.second_run.returncode == 1
    assert f"study {NAME} runs already, in {travelled.studies}/{NAME}" in (
        travelled.second_run.stderr
    )


def test_killed_driver_is_taken_for_dead_once_its_heart_has_stopped_for_long(travelled):
    assert travelled.left_over == []
    assert travelled.too_early.returncode == 1
    assert f"taken for dead {DEAD_AFTER_S:g} s after" in travelled.too_early.stderr
    assert travelled.after_kill["state"] == "interrupted"
    assert travelled.after_kill["cause"] == "the driver was killed"


def test_another_machine_goes_on_from_what_lies_in_the_bucket(travelled):
    assert "trial 0001 went on from its checkpoint of epoch" in travelled.resumed_says
    assert f"trial 0001 epoch {travelled.n_first + 1}/" in travelled.resumed_says
    n_known = travelled.n_first - N_LOST
    assert travelled.after_kill["trials"][0]["epochs"] == n_known
    assert f"trial 0001 epoch {n_known}/" not in travelled.resumed_says


def test_epochs_that_never_came_into_the_record_are_told_by_the_checkpoint(travelled):
    for number in range(travelled.n_first - N_LOST + 1, travelled.n_first + 1):
        assert f"trial 0001 epoch {number}/" in travelled.resumed_says


def test_lines_that_only_a_watching_machine_had_are_put_aside_where_the_study_went_on_without_them(
    travelled, monkeypatch
):
    paths = travelled.second.open(monkeypatch).study(NAME)
    (aside,) = paths.root.glob("record-put-aside-*.jsonl")
    epochs = [json.loads(line)["record"]["epoch"] for line in aside.read_text().splitlines()]
    assert epochs == list(range(travelled.n_first - N_LOST + 1, travelled.n_first + 1))


def test_wish_to_stop_reaches_a_driver_on_another_machine(travelled):
    assert travelled.stopped_with == (130, 0), travelled.resumed_says
    assert f"Study {NAME} interrupted: 0 of 1 trials done" in travelled.stop_says


def test_study_ends_as_if_it_had_never_moved(travelled, monkeypatch):
    assert travelled.ended_with == 0, travelled.ended_says
    record = assert_all_agrees(travelled.second.open(monkeypatch), NAME)
    trial = record.trials["0001"]
    assert (record.state, trial.outcome, trial.epochs) == ("complete", "complete", N_EPOCHS)
    n_first, n_third = trial.restored_epochs
    assert n_first - travelled.n_first in (0, 1)  # one that was not told lies in the bucket
    assert n_third == travelled.n_third
    assert trial.n_epochs_again == 0
    assert record.best_test is not None


def test_bucket_has_all_of_the_study(travelled, monkeypatch):
    paths = travelled.second.open(monkeypatch).study(NAME)
    assert record_of(paths) == paths.record.read_bytes()
    names = {entry.name for entry in paths.remote.list(recursive=True)}
    assert {"study.yaml", "best.yaml", "log.txt", "trials/0001/config.yaml"} <= names
    assert any(name.startswith("trials/0001/pictures/") for name in names)
    assert any(name.startswith("trials/0001/workers-") for name in names)
    assert "driver.json" not in names
    # Of the last two epochs, the best one and the most stable one.
    assert len([name for name in names if name.endswith(".ckpt")]) <= 4


def record_of(paths: StudyPaths) -> bytes:
    return b"".join(
        (paths.segments / segment.name).read_bytes() for segment in record_in_bucket(paths)
    )


def test_study_is_deleted_in_its_bucket_too(travelled, monkeypatch):
    gone = travelled.second.call("delete", NAME, "--yes")
    assert gone.returncode == 0, gone.stderr
    assert travelled.third.told("list") == []
    paths = travelled.second.open(monkeypatch).study(NAME)
    assert paths.remote.list(recursive=True) == ()
    assert not os.path.lexists(paths.root)
