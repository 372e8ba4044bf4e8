"""stop, resume, extend, warm start, repair and delete, typed one after the other."""

import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import small_study
from tests.agreement import assert_all_agrees
from tests.gate import Gate

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.faults]

N_EPOCHS = 8
SPACE = {"loss.clustering_weight": {"type": "float", "low": 1.0, "high": 100.0, "log": True}}
ONE_AT_A_TIME = {"workers_per_trial": 1, "max_concurrent_trials": 1}


@pytest.fixture(scope="module")
def carried_on(jets_parquet, tmp_path_factory, with_store):
    """A study of one trial, stopped in it and extended, which carries it on to its end."""
    folder = tmp_path_factory.mktemp("carried_on")
    studies, interrupted = with_store(folder / "studies"), folder / "interrupted"
    jets = shutil.copytree(jets_parquet, folder / "jets")
    file = small_study.write_study(
        folder / "first.yaml",
        jets,
        training={"n_epochs": N_EPOCHS, "n_pretraining_epochs": 2},
        search_space=SPACE,
        resources=ONE_AT_A_TIME,
    )
    gate = Gate(folder / "gate")
    gate.hold_after(3)  # the study must not end meanwhile
    search = small_study.RunningCommand(
        folder, "run", file, "--studies-dir", studies, **gate.variables
    )
    started = [search]
    try:
        search.wait_for("trial 0001 epoch 3/")
        second_driver, again = small_study.call_together(
            ("resume", "first", "--studies-dir", studies),
            ("run", file, "--studies-dir", studies),
        )
        stopping = small_study.RunningCommand(
            folder / "stopping", "stop", "first", "--studies-dir", studies
        )
        started.append(stopping)
        search.wait_for("Stopping after the running epochs")
        gate.open()
        exit_code = search.end(timeout_s=30)
        stopped = stopping.end(timeout_s=30)
        left_over = search.left_over(timeout_s=0)
    finally:
        for running in started:
            running.kill()
    after_stop = assert_all_agrees(studies, "first")
    shutil.copytree(studies, interrupted)
    extended = small_study.call(
        *("extend", "first", "--trials", "1"),
        *("--set", "search_space.loss.clustering_weight.high=50"),
        *("--studies-dir", studies),
    )
    return SimpleNamespace(**locals())


def test_second_driver_is_refused_and_the_first_named(carried_on):
    assert carried_on.second_driver.returncode == 1
    assert f"process {carried_on.search.process.pid} on " in carried_on.second_driver.stderr


def test_stop_waits_for_the_end_of_the_study(carried_on):
    told = carried_on.stopping.err.read_text()
    assert carried_on.stopped == 0, told
    assert "Study first interrupted: 0 of 1 trials done" in carried_on.stopping.out.read_text()
    assert "ucluster-tune resume first" in told
    assert carried_on.exit_code == 130
    assert carried_on.left_over == []
    trial = carried_on.after_stop.trials["0001"]
    assert (trial.outcome, trial.epochs) == ("interrupted", 4)


def test_run_of_a_study_that_runs_names_its_status_and_stop(carried_on):
    assert carried_on.again.returncode == 1
    for way_out in ("status first --follow", "stop first", "--name"):
        assert way_out in carried_on.again.stderr


def test_extension_of_a_stopped_study_carries_its_trial_on_where_it_stopped(carried_on):
    assert carried_on.extended.returncode == 0, carried_on.extended.stderr[-2000:]
    assert ", 0 trials known" in carried_on.extended.stderr
    first = carried_on.after_stop.trials["0001"].epochs
    assert f"trial 0001 epoch {first + 1}/" in carried_on.extended.stderr
    assert f"trial 0001 epoch {first}/" not in carried_on.extended.stderr


def test_extension_adds_trials_with_the_changes_that_it_asks_for(carried_on):
    record = assert_all_agrees(carried_on.studies, "first")
    assert [trial.outcome for trial in record.trials.values()] == ["complete"] * 2
    assert record.n_trials == 2
    weight = record.trials["0002"].hyperparameters["loss.clustering_weight"]
    assert isinstance(weight, float)
    assert weight <= 50
    assert any("high 100" in line and "high 50" in line for line in record.extensions[0])


BROKEN_PROGRAM = Path(small_study.__file__).parent / "broken_program"


@pytest.fixture(scope="module")
def failed(carried_on, tmp_path_factory):
    """A copy of the study, extended by an hour in which a program's error and divergence come."""
    studies = shutil.copytree(carried_on.studies, tmp_path_factory.mktemp("failed") / "studies")
    python_path = small_study.environment()["PYTHONPATH"]
    divergent = "{type: float, low: 1.0e+29, high: 1.0e+30, log: true}"
    extended = small_study.call(
        *("extend", "first", "--hours", "1", "--studies-dir", studies),
        *("--set", f"search_space.training.learning_rate={divergent}"),
        *("--set", "failures.stop_after_same_cause=2"),
        variables={"PYTHONPATH": os.pathsep.join([str(BROKEN_PROGRAM), python_path])},
    )
    return SimpleNamespace(record=assert_all_agrees(studies, "first"), extended=extended)


def test_extension_by_hours_begins_trials_with_all_that_was_learnt(failed):
    assert "), 2 trials known" in failed.extended.stderr
    assert list(failed.record.trials) == ["0001", "0002", "0003", "0004", "0005"]
    assert failed.record.is_open_ended
    assert any(line.startswith("trials begin until 20") for line in failed.record.extensions[1])


def test_error_in_the_program_fails_the_trial_with_its_traceback_and_is_not_tried_again(failed):
    trial = failed.record.trials["0003"]
    assert (trial.outcome, trial.kind) == ("failed", "program")
    assert trial.retry_causes == []
    assert ", in run_epoch_with_mistake" in trial.cause
    error = "KeyError: 'a key that nobody wrote'"
    assert trial.cause.rstrip().endswith(error)
    for told in (failed.extended.stdout, failed.extended.stderr):
        assert re.search(f"trial 0003 failed: worker [01] failed: {error}", told)


def test_search_stops_once_trials_in_a_row_diverged_and_prints_the_cause(failed):
    told = failed.extended.stdout + failed.extended.stderr[-2000:]
    assert failed.extended.returncode == 1, told
    last_two = [failed.record.trials[name] for name in ("0004", "0005")]
    assert [(trial.outcome, trial.kind) for trial in last_two] == [("failed", "training")] * 2
    assert failed.record.state == "failed"
    cause = "2 trials in a row failed for the same cause: loss is not finite"
    assert cause in " ".join(told.split())


INCOMPARABLE = {
    "training.n_epochs=3": "trials with another value are no trials of the same kind",
    "objective.metric=nmi": "trials are ranked by it",
    "resources.workers_per_trial=2": "each worker normalises its batches alone",
    "search_space.loss.clustering_weight=null": "cannot be taken out",
}


@pytest.fixture(scope="module")
def refused(carried_on, tmp_path_factory):
    """What is told of wishes that cannot be met, each of them to a copy, which stays as it was."""
    folder = tmp_path_factory.mktemp("refused")
    damaged = small_study.write_small_dataset(folder / "jets")
    (damaged / "test-00000.parquet").unlink()
    extend = ("extend", "first", "--trials", "1", "--set")
    wishes = {
        "resume": ("resume", "first"),
        "stop": ("stop", "first"),
        "damaged": (*extend, f"data.path={damaged}"),
        "other jets": ("resume", "first"),
        **{change: (*extend, change) for change in INCOMPARABLE},
    }
    of = dict.fromkeys(wishes, carried_on.studies) | {"other jets": carried_on.interrupted}
    copies = {wish: shutil.copytree(of[wish], folder / str(i)) for i, wish in enumerate(wishes)}
    carried_on.jets.rename(folder / "aside")
    small_study.write_small_dataset(carried_on.jets, first=1)
    answers = small_study.call_together(
        *((*words, "--studies-dir", copies[wish]) for wish, words in wishes.items())
    )
    shutil.rmtree(carried_on.jets)
    (folder / "aside").rename(carried_on.jets)
    for wish, copy in copies.items():
        record = Path("first", "record.jsonl")
        assert (copy / record).read_bytes() == (of[wish] / record).read_bytes()
    return dict(zip(wishes, answers, strict=True))


@pytest.mark.parametrize(("change", "told"), INCOMPARABLE.items())
def test_change_that_makes_trials_incomparable_is_refused(refused, change, told):
    assert refused[change].returncode == 1
    assert told in refused[change].stderr


def test_finished_study_is_not_resumed(refused):
    assert refused["resume"].returncode == 1
    assert "has no trial left to run" in refused["resume"].stderr
    assert "ucluster-tune extend first --trials N" in refused["resume"].stderr


def test_jets_that_are_not_whole_are_refused(refused):
    assert refused["damaged"].returncode == 1
    assert "test-00000.parquet: missing" in refused["damaged"].stderr


def test_whole_data_set_of_other_jets_in_the_same_place_is_refused_with_the_ways_out(refused):
    told = refused["other jets"].stderr
    assert refused["other jets"].returncode == 1
    assert "holds other jets than those that study first began with (checksum " in told
    assert "`ucluster-tune resume first --data PATH`" in told
    assert "`ucluster-tune run FILE --warm-start first`" in told
    assert "Starting Ray" not in told


def test_stop_of_a_study_that_nobody_runs_says_so(refused):
    assert refused["stop"].returncode == 1
    assert "study first is not running" in refused["stop"].stderr


def test_repair_rebuilds_what_was_lost(carried_on, tmp_path):
    studies = tmp_path / "studies"
    shutil.copytree(carried_on.studies, studies)
    folder = studies / "first"
    (folder / "optuna.db").write_bytes(b"not a database")
    (folder / "best.yaml").unlink()
    (studies / "mlflow.db").unlink()
    with (folder / "record.jsonl").open("ab") as journal:
        journal.write(b'{"event": "epo')
    mended = small_study.call("repair", "first", "--studies-dir", studies)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    for told in (
        "record.jsonl: an event that a crash cut off",
        "best.yaml: was missing",
        "optuna.db: differed from the record",
        "MLflow had no run of the study",
        "trial 0002: MLflow had no run of it",
    ):
        assert told in mended.stdout
    assert_all_agrees(studies, "first")
    again = small_study.call("repair", "first", "--studies-dir", studies)
    assert again.stdout == "Study first: all agrees with its record\n"


@pytest.fixture(scope="module")
def warm_started(carried_on, tmp_path_factory):
    """A study that knows the trials of the first one, stopped at once."""
    folder = tmp_path_factory.mktemp("warm_started")
    file = small_study.write_study(
        folder / "second.yaml",
        carried_on.jets,
        training={"n_epochs": 20_000},
        search_space=SPACE,
        resources=ONE_AT_A_TIME,
    )
    studies = carried_on.studies
    search = small_study.RunningCommand(
        folder, "run", file, "--warm-start", "first", "--studies-dir", studies
    )
    try:
        search.wait_for("trial 0001 started")
        search.note_processes()
        stopped = small_study.call("stop", "second", "--now", "--studies-dir", studies)
        exit_code = search.end(timeout_s=20)
        left_over = search.left_over(timeout_s=5)
    finally:
        search.kill()
    return SimpleNamespace(record=assert_all_agrees(studies, "second"), **locals())


def test_stop_now_ends_at_once(warm_started):
    assert warm_started.stopped.returncode == 0, warm_started.stopped.stderr
    assert warm_started.exit_code in (130, -signal.SIGKILL)
    assert warm_started.left_over == []


def test_study_with_a_warm_start_knows_the_trials_of_the_other_one(warm_started):
    told = warm_started.search.err.read_text()
    assert "tpe sampler (learns from trials where good ones lie), 2 trials known" in told
    assert "differ from the new ones in training.n_epochs" in told
    assert len(warm_started.record.warm_start.trials) == 2


def test_delete_takes_one_study_away_once_it_is_agreed_to(warm_started):
    studies = warm_started.studies
    kept = small_study.call("delete", "second", "--studies-dir", studies)
    assert kept.returncode != 0
    assert (studies / "second").exists()
    gone = small_study.call("delete", "second", "--yes", "--studies-dir", studies)
    assert gone.returncode == 0, gone.stderr
    assert "2 runs deleted in MLflow" in gone.stdout
    assert not (studies / "second").exists()
    assert_all_agrees(studies, "first")
