import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.small_datasets import write_jets
from ucluster_tune.cli.main import main
from ucluster_tune.data.format.manifest import sha256_of

SPACES = Path(__file__).parents[2] / "search_spaces"
QUICKSTART = SPACES / "quickstart.yaml"


def check(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("uri", "variable", "told"),
    [
        (None, None, "MLflow, an SQLite file in the studies folder"),
        (None, "http://there:5000", "MLflow at http://there:5000, as MLFLOW_TRACKING_URI says"),
        (None, "http://me:secret@there", "MLflow at http://me@there, as MLFLOW_TRACKING_URI says"),
        ("https://runs.example", "http://there:5000", "MLflow at https://runs.example"),
    ],
)
def test_the_plan_says_where_runs_are_tracked(uri, variable, told, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    result = check(QUICKSTART, *([] if uri is None else ["--set", f"tracking.uri={uri}"]))
    assert told in result.stdout
    assert "secret" not in result.stdout.partition("Next:")[0]


def plan_of(*arguments):
    result = check(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def study_file(tmp_path):
    """Writes YAML text beside a link to the sample of jets."""
    (tmp_path / "jets").symlink_to(SPACES / "data" / "wzt_sample")

    def write(text, name="study.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_plan_tells_generations_and_seeds():
    short = ("--set", "training.n_epochs=10")
    pbt = plan_of(QUICKSTART, *short, "--set", "scheduler={name: pbt, interval: 2}")["plan"]
    assert pbt["rungs"] == [5, 7, 9]
    assert pbt["epochs_at_least"] == pbt["epochs_at_most"] == 120
    seeds = ("--set", "objective.seeds_per_trial=3", "--set", "budget.n_trials=9")
    result = check(QUICKSTART, *short, *seeds)
    text = " ".join(result.stdout.split())
    assert "9, of 10 epochs at most, with 3 seeds each" in text
    assert "45 to 270 in all" in text
    assert "asha: trials are compared at epoch 5" in text


def test_a_sound_file_shows_its_plan_and_what_to_type_next():
    result = check(QUICKSTART, "--set", "budget.n_trials=9", "--set", "training.n_epochs=30")
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    for words in (
        "Study quickstart",
        "jets of w, z, t: ",
        "maximize clustering_accuracy of the validation jets",
        "0.81 (arXiv:2010.07106",
        "9, of 30 epochs at most",
        "45 to 270 in all",
        "1 Horovod worker, 1 CPUs, 0 GPUs",
        "loss.clustering_weight",
        "0.1 to 100, logarithmic",
        "whole numbers 5 to 12",
    ):
        assert words in text
    assert result.stdout.endswith(
        f"Next: ucluster-tune run {QUICKSTART}"
        " --set budget.n_trials=9 --set training.n_epochs=30\n"
    )


def test_the_plan_as_json():
    document = plan_of(
        QUICKSTART,
        *("--set", "budget.n_trials=10"),
        *("--set", "training.n_epochs=40"),
        *("--set", "scheduler={name: asha, grace_period: 4, reduction_factor: 3}"),
        *("--set", "resources={workers_per_trial: 2, cpus_per_worker: 0.5}"),
        *("--set", "search_space={model.n_neighbors: {type: int, low: 12, high: 20}}"),
    )
    plan = document["plan"]
    assert plan["n_trials"] == 10
    assert plan["epochs_per_trial"] == 40
    assert (plan["epochs_at_least"], plan["epochs_at_most"]) == (40, 400)
    assert plan["rungs"] == [4, 12, 36]
    assert plan["workers_per_trial"] == 2
    assert (plan["cpus_per_trial"], plan["gpus_per_trial"]) == (1.0, 0.0)
    assert plan["fits"]
    assert plan["concurrent_trials"] == min(10, plan["machine"]["n_cpus"])
    assert document["name"] == "quickstart"
    assert document["search_space"]["model.n_neighbors"]["published"] == 12
    assert set(document["data"]["jets"]) == {"train", "validation", "test"}
    assert all(count > 0 for count in document["data"]["jets"]["test"].values())
    # nine values for ten trials
    assert [warning.split(":")[0] for warning in document["warnings"]] == ["budget.n_trials"]


def test_without_a_scheduler_every_trial_runs_to_its_last_epoch():
    document = plan_of(SPACES / "published.yaml", "--set", "training.n_epochs=25")
    assert document["plan"]["epochs_at_least"] == document["plan"]["epochs_at_most"] == 25
    assert document["plan"]["rungs"] == []


def test_a_limit_on_trials_at_a_time_is_kept():
    one = "resources={workers_per_trial: 1, cpus_per_worker: 0.01, max_concurrent_trials: 3}"
    assert plan_of(QUICKSTART, "--set", one)["plan"]["concurrent_trials"] == 3


def test_what_does_not_fit_this_machine_is_warned_of():
    result = check(QUICKSTART, "--set", "resources.workers_per_trial=64")
    assert result.exit_code == 0
    assert "too small for a trial" in result.stdout
    assert "Warning: resources: a trial needs 64 CPUs and 0 GPUs" in result.stderr
    needs_gpus = ("--set", "resources={workers_per_trial: 64, gpus_per_worker: 1}")
    assert not plan_of(QUICKSTART, *needs_gpus)["plan"]["fits"]


def test_warnings_are_shown():
    result = check(
        QUICKSTART, "--set", "search_space.model.n_clusters={type: int, low: 2, high: 5}"
    )
    assert result.exit_code == 0
    assert "Warning: objective.metric: clustering_accuracy at different" in result.stderr


def test_all_faults_are_shown_at_once_without_a_traceback(study_file):
    file = study_file(
        "data: {path: jets}\n"
        "model: {n_neighbor: 3}\n"
        "search_space:\n"
        "  training.learning_rate: {type: float, low: 0.0, high: 1, log: true}\n"
    )
    result = check(file, "--set", "budget.n_trails=3")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"Error: {file}: 3 faults",
        "  --set budget.n_trails=3: unknown path 'budget.n_trails'; did you mean budget.n_trials?",
        "  model.n_neighbor: unknown key; did you mean n_neighbors?",
        "  search_space.training.learning_rate.low: must be > 0 when log is true, got 0.0",
    ]


def test_a_missing_data_set_is_an_error(study_file):
    result = check(study_file("data: {path: nowhere}"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "nowhere: no such folder" in result.stderr


def test_a_selection_that_leaves_no_jets_is_an_error(study_file):
    result = check(study_file("data: {path: jets, mass_min_gev: 198, mass_max_gev: 198.0001}"))
    assert result.exit_code == 1
    assert "no train jets of " in result.stderr


def test_more_workers_than_jets_is_an_error(study_file):
    text = (
        "data: {path: jets}\ntraining: {global_batch_size: 4096}\n"
        "resources: {workers_per_trial: 4096}"
    )
    result = check(study_file(text))
    assert result.exit_code == 1
    assert "for 4096 workers" in result.stderr


def test_a_value_that_is_not_finite_is_found_before_any_trial(study_file, tmp_path):
    jets = tmp_path / "damaged"
    shutil.copytree(SPACES / "data" / "wzt_sample", jets)
    file = sorted(jets.glob("train-*.parquet"))[0]
    table = pq.read_table(file)
    etas = table["eta_rel"].to_pylist()
    etas[7][0] = float("nan")
    index = table.schema.get_field_index("eta_rel")
    column = pa.array(etas, table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), column), file)
    manifest = json.loads((jets / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["path"] == file.name:
            entry["n_bytes"] = file.stat().st_size
            entry["sha256"] = sha256_of(file)
    (jets / "manifest.json").write_text(json.dumps(manifest))
    result = check(study_file("data: {path: damaged}"))
    assert result.exit_code == 1
    assert f"{file.name}, row group 0, column eta_rel: 1 values are NaN" in result.stderr


def test_square_brackets_in_names_are_shown_as_they_are(study_file, tmp_path):
    (tmp_path / "[red]jets").symlink_to(tmp_path / "jets")
    result = check(study_file("data: {path: '[red]jets'}"))
    assert result.exit_code == 0, result.stderr
    assert "[red]jets" in result.stdout


def test_nothing_is_written(study_file, tmp_path):
    file = study_file("data: {path: jets}")
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "ucluster_tune", "check", str(file)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert sorted(tmp_path.iterdir()) == before


def test_a_budget_of_time_alone_is_planned_without_a_number_of_trials():
    options = ("--set", "budget.n_trials=null", "--set", "budget.until=2999-12-24T18:00Z")
    result = check(QUICKSTART, *options)
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "any number, begun until 2999-12-24T18:00Z, of" in text
    assert "as many as the time is enough for" in text
    plan = plan_of(QUICKSTART, *options)["plan"]
    assert (plan["n_trials"], plan["epochs_at_most"]) == (None, None)
    assert plan["until"] == "2999-12-24T18:00Z"


def test_jets_without_classes_are_told_and_ask_for_a_metric_that_needs_none(tmp_path):
    write_jets(tmp_path / "jets", is_labelled=False)
    file = tmp_path / "mine.yaml"
    file.write_text("data: {path: jets}\n")
    result = check(file)
    assert result.exit_code == 1
    assert "the jets have no classes" in result.stderr
    assert "--set objective.metric=silhouette" in result.stderr
    result = check(file, "--set", "objective.metric=stability")
    assert result.exit_code == 0, result.stderr
    assert "jets without classes: 60 train, 30 validation, 30 test" in result.stdout
    assert "Reference" not in result.stdout
    others = ("--set", "objective.metric=stability", "--set", "objective.others=[ari]")
    assert "here ari, would need" in check(file, *others).stderr
