"""One small search by the command line, looked at from all sides."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests import small_study
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.points import published_point
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.mlflow.tracker import TRACKED_METRICS

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = {
    "loss.clustering_weight": {"type": "float", "low": 0.1, "high": 100.0, "log": True},
    "training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
}
OVERRIDE = "sampler.n_startup_trials=3"
# The command itself, and then what it has loaded.
COMMAND = """
import sys
from ucluster_tune.cli.main import main
try:
    main(sys.argv[2:], prog_name="ucluster-tune")
finally:
    open(sys.argv[1], "w").write("\\n".join(sys.modules))
"""


@pytest.fixture(scope="module")
def search(jets_parquet, tmp_path_factory):
    """A finished search of 4 trials, 2 workers each."""
    folder = tmp_path_factory.mktemp("search")
    file = small_study.write_study(
        folder / "small.yaml",
        jets_parquet,
        search_space=SPACE,
        scheduler={"name": "asha", "grace_period": 1, "reduction_factor": 2.0},
        budget={"n_trials": 4},
    )
    studies = folder / "studies"
    arguments = ["run", str(file), "--studies-dir", str(studies), "--set", OVERRIDE]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder / "modules"), *arguments],
        env=small_study.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stdout, stderr = process.communicate(timeout=280)
    paths = StudiesFolder(studies).study("small")
    return SimpleNamespace(
        file=file,
        studies=studies,
        paths=paths,
        exit_code=process.returncode,
        pid=process.pid,
        stdout=stdout,
        stderr=stderr,
        modules=(folder / "modules").read_text().split("\n"),
        record=read_record(paths.record),
    )


@pytest.fixture(scope="module")
def runs(search):
    """All MLflow runs of the study, by id."""
    client = MlflowClient(tracking_uri=search.record.tracking_uri)
    found = client.search_runs([search.record.experiment_id], max_results=100)
    return SimpleNamespace(client=client, by_id={run.info.run_id: run for run in found})


def test_search_ends_well(search):
    assert search.exit_code == 0, search.stderr
    assert search.record.state == "complete"
    outcomes = {id_: trial.outcome for id_, trial in search.record.trials.items()}
    assert list(outcomes) == ["0001", "0002", "0003", "0004"]
    assert set(outcomes.values()) == {"complete", "stopped_early"}
    for trial in search.record.trials.values():
        assert [epoch.epoch for epoch in trial.records] == list(range(1, trial.epochs + 1))
        assert (trial.epochs == 3) == (trial.outcome == "complete")


def test_first_trial_is_the_published_recipe(search):
    study = load_study_config(search.paths.study_yaml)
    assert search.record.trials["0001"].hyperparameters == published_point(study)
    assert search.record.trials["0002"].hyperparameters != published_point(study)


def test_study_keeps_its_configuration_as_run(search):
    study = load_study_config(search.paths.study_yaml)
    assert study == load_study_config(search.file, [OVERRIDE])
    assert study.model_dump(mode="json") == search.record.config


def test_study_folder_holds_the_files_of_the_contract(search):
    names = {path.name for path in search.paths.root.iterdir()}
    assert names == {
        *("study.yaml", "record.jsonl", "study.lock", "optuna.db"),
        *("log.txt", "ray", "best.yaml", "trials", "report"),
    }
    for trial in search.record.trials.values():
        files = search.paths.trial(trial.id)
        kept = {trial.best_epoch, trial.epochs, trial.epochs - 1} - {0}
        checkpoints = {path.name for path in (files.root / "checkpoints").iterdir()}
        assert checkpoints == {f"epoch-{epoch:04d}.ckpt" for epoch in kept}
        evaluations = {path.name for path in (files.root / "evaluation").iterdir()}
        assert evaluations == {f"epoch-{epoch:04d}.npz" for epoch in kept}
        assert "rank 1 of 2" in files.workers_log.read_text()
        config = load_study_config(files.config)
        assert config.training.learning_rate == trial.hyperparameters["training.learning_rate"]
        pictures = {path.name for path in files.pictures.iterdir()}
        assert pictures == {"confusion_matrix.png", "embedding.png"}
    parts = [path for path in search.studies.rglob("*") if ".part" in path.name]
    assert parts == []


def test_the_report_is_named_at_the_end_and_attached_to_the_study(search, runs):
    assert f"Report: {search.paths.report_page}" in search.stdout
    page = search.paths.report_page.read_text()
    assert "It puts " in page
    assert "it could not be made" not in page
    attached = runs.client.list_artifacts(search.record.run_id, "report")
    assert "report/report.html" in {file.path for file in attached}
    answer = runs.by_id[search.record.run_id].data.tags["mlflow.note.content"]
    assert "clustering accuracy" in answer


def test_log_tells_each_event_and_holds_no_error(search):
    log = search.paths.log.read_text()
    assert log.count('"event":"trial_started"') == 4
    assert " ERROR " not in log


def test_each_trial_is_one_run_below_the_studys(search, runs):
    parent = runs.by_id[search.record.run_id]
    children = {id_: run for id_, run in runs.by_id.items() if run is not parent}
    assert set(children) == {trial.run_id for trial in search.record.trials.values()}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_test_clustering_accuracy"] == pytest.approx(
        search.record.best_test["clustering_accuracy"]
    )
    for trial in search.record.trials.values():
        run = children[trial.run_id]
        assert run.data.tags["mlflow.parentRunId"] == search.record.run_id
        assert run.info.status == "FINISHED"
        params = {name: float(value) for name, value in run.data.params.items()}
        assert params == pytest.approx(trial.hyperparameters)
        tags = {
            name.removeprefix("ucluster_tune."): value
            for name, value in run.data.tags.items()
            if name.startswith("ucluster_tune.")
        }
        assert tags["study"] == "small"
        assert tags["trial"] == trial.id
        assert tags["outcome"] == trial.outcome
        assert tags["dataset_checksum"] == search.record.dataset_checksum
        assert tags["code_version"] == search.record.code_version
        assert tags["seed"] == "1"


def test_each_epoch_is_one_value_of_each_metric(search, runs):
    for trial in search.record.trials.values():
        for name in (*TRACKED_METRICS, "difference_to_reference"):
            history = runs.client.get_metric_history(trial.run_id, name)
            steps = [metric.step for metric in history]
            assert sorted(steps) == list(range(1, trial.epochs + 1)), f"{trial.id} {name}"
            if name in TRACKED_METRICS:
                values = [m.value for m in sorted(history, key=lambda metric: metric.step)]
                assert values == pytest.approx([epoch.value(name) for epoch in trial.records])


def test_each_run_has_configuration_and_two_pictures(search, runs):
    for trial in search.record.trials.values():
        root = {item.path for item in runs.client.list_artifacts(trial.run_id)}
        assert root == {"config.yaml", "best_epoch"}
        pictures = {item.path for item in runs.client.list_artifacts(trial.run_id, "best_epoch")}
        assert pictures == {"best_epoch/confusion_matrix.png", "best_epoch/embedding.png"}


def test_optuna_knows_the_same_trials(search):
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{search.paths.optuna_db}")
    by_id = {trial.user_attrs["trial"]: trial for trial in study.trials}
    assert set(by_id) == set(search.record.trials)
    for trial in search.record.trials.values():
        told = by_id[trial.id]
        accuracies = {epoch.epoch: epoch.clustering_accuracy for epoch in trial.records}
        assert told.params == pytest.approx(trial.hyperparameters)
        assert told.intermediate_values == pytest.approx(accuracies)
        if trial.outcome == "complete":
            assert told.state == optuna.trial.TrialState.COMPLETE
            assert told.value == pytest.approx(trial.best.clustering_accuracy)
        else:
            assert told.state == optuna.trial.TrialState.PRUNED


def test_best_configuration_can_be_trained(search):
    best = load_study_config(search.paths.best_yaml)
    hyperparameters = search.record.best.hyperparameters
    assert best.search_space == {}
    assert best.training.learning_rate == hyperparameters["training.learning_rate"]
    assert best.loss.clustering_weight == hyperparameters["loss.clustering_weight"]
    assert best.resources.workers_per_trial == 2
    assert best.objective == search.record.objective


def test_summary_is_all_that_is_on_stdout(search):
    lines = search.stdout.splitlines()
    assert lines[0].startswith("Study small  ✓ complete")
    # Commands are not folded, so that they can be copied.
    assert max(map(len, lines[: lines.index("Next, type")])) <= 80
    text = search.stdout
    best, test = search.record.best, search.record.best_test
    assert f"Best: trial {best.id}, epoch {best.best_epoch} of 3" in text
    assert f"{100 * best.best.clustering_accuracy:.1f} %" in text
    assert f"{100 * test['clustering_accuracy']:.1f} %" in text
    for name in ("validation jets", "test jets", "k-means on the jet mass, test", "81.0 %"):
        assert name in text
    for command in ("status small", "ui small", "train"):
        assert f"ucluster-tune {command}" in text
    assert "trial 0001 started" not in text


def test_progress_is_on_stderr_without_the_noise_of_libraries(search):
    lines = search.stderr.splitlines()
    assert re.fullmatch(
        r"Running on a Ray of its own on this machine: \d+ CPUs, \d+ GPUs \(as --local says\)",
        lines[0],
    )
    for line in lines[1:]:
        own = ("Reading the jets", "Warning: sampler.n_startup_trials", "On the validation jets")
        assert line[2:3] == ":" or line.startswith(own), line
    assert "trial 0001 epoch 1/3 pretraining" in search.stderr


def test_search_itself_loads_no_tensorflow(search):
    assert "ray.tune" in search.modules
    assert "tensorflow" not in search.modules


def test_no_process_outlives_the_search(search):
    assert not small_study.processes_mentioning(f"_{search.pid}/")
    assert not small_study.processes_mentioning(str(search.studies))


def test_nothing_but_the_search_lies_in_the_studies_folder(search):
    assert {path.name for path in search.studies.iterdir()} == {
        "mlflow.db",
        "mlartifacts",
        "small",
    }
    with sqlite3.connect(search.studies / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (5,)


def test_status_as_json_has_the_stable_keys(search):
    result = small_study.call("status", "small", "--studies-dir", search.studies, "--json")
    status = json.loads(result.stdout)
    kinds = {
        **{"name": str, "state": str, "reference_accuracy": float, "tracking_uri": str},
        **{"experiment_id": str, "run_id": str, "best": dict, "trials": list},
    }
    assert {name: type(status[name]) for name in kinds} == kinds
    assert (status["name"], status["state"], status["reference_accuracy"]) == (
        *("small", "complete", 0.81),
    )
    best = status["best"]
    assert type(best["trial_id"]) is str
    assert type(best["validation"]["clustering_accuracy"]) is float
    assert type(best["test"]["clustering_accuracy"]) is float
    kinds = {
        **{"id": str, "outcome": str, "epochs": int, "hyperparameters": dict},
        **{"clustering_accuracy": float, "run_id": str},
    }
    for trial in status["trials"]:
        assert {name: type(trial[name]) for name in kinds} == kinds


def test_name_that_exists_is_refused_and_its_study_left_alone(search):
    before = {path: path.stat().st_mtime_ns for path in search.studies.rglob("*")}
    result = small_study.call("run", search.file, "--studies-dir", search.studies)
    assert result.returncode == 1
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: study small exists already")
    assert "--name" in error
    assert {path: path.stat().st_mtime_ns for path in search.studies.rglob("*")} == before


def altered(jets_parquet, folder):
    """A copy of the data set in which one byte differs."""
    folder.mkdir()
    for file in jets_parquet.iterdir():
        contents = bytearray(file.read_bytes())
        if file.name.startswith("validation"):
            contents[1000] ^= 1
        (folder / file.name).write_bytes(contents)
    return folder


@pytest.mark.parametrize("case", ["altered jets", "file in the way", "too large", "no such jets"])
def test_errors_before_the_first_trial_leave_nothing(case, jets_parquet, tmp_path):
    jets, studies, sections = jets_parquet, tmp_path / "studies", {}
    if case == "altered jets":
        jets = altered(jets_parquet, tmp_path / "jets")
        expected = "validation-00000.parquet: altered"
    elif case == "no such jets":
        jets, expected = tmp_path / "none", "no such folder"
    elif case == "file in the way":
        studies = tmp_path / "small.yaml" / "studies"
        expected = "--studies-dir"
    else:
        sections = {
            "resources": {"workers_per_trial": 500},
            "training": {"global_batch_size": 600},
        }
        expected = "a trial takes 500 CPUs"
    file = small_study.write_study(tmp_path / "small.yaml", jets, **sections)
    before = yaml.safe_load(file.read_text())
    result = small_study.call("run", file, "--studies-dir", studies)
    assert result.returncode == 1
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert expected in error
    assert "Traceback" not in result.stderr
    assert yaml.safe_load(file.read_text()) == before
    assert not Path(studies).exists() or not list(Path(studies).glob("*"))
