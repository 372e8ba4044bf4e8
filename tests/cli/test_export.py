"""`ucluster-tune export`, as typed."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from tests.models.test_opening import make_checkpoint
from tests.models.test_prediction import make_model
from tests.small_study import environment
from tests.study_answers import confirmation, measured, yardsticks
from tests.study_answers import result as confirmation_result
from tests.study_events import four_trials, started, study_config
from tests.training.small_training import write_checkpoint
from ucluster_tune.cli.main import main
from ucluster_tune.cli.models import export as command
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.models.exported.writing import FORMATS
from ucluster_tune.models.saved import read_model, write_model
from ucluster_tune.study.events import (
    EpochEnded,
    StudyEnded,
    StudyEvaluated,
    TrainingEvaluated,
    TrialTracked,
    YardsticksMeasured,
)
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.tracking.mlflow.tracker import Tracker
from ucluster_tune.training.record import EpochRecord

TEST = {
    "clustering_accuracy": 0.8,
    "clustering_accuracy_batched": 0.82,
    "confusion": [[400, 50, 50], [0, 200, 50], [50, 0, 200]],
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory, jets_parquet):
    """The study `jets`, whose trials 0001, the best, and 0002 have a checkpoint."""
    folder = StudiesFolder(tmp_path_factory.mktemp("studies"))
    config = study_config(data={"path": str(jets_parquet)})
    model = make_model()
    for trial, epoch in (("0001", 6), ("0002", 2)):
        files = folder.study("jets").trial(trial)
        vectors = {"parameters": model.parameters, "averages": model.averages}
        write_checkpoint(make_checkpoint(epoch, epoch, **vectors), files.checkpoint(epoch))
    with StudyJournal(folder.study("jets").record) as journal:
        for event in (
            started(config),
            *four_trials()[1:],
            StudyEvaluated(trial="0001", test=TEST),
            YardsticksMeasured(yardsticks=yardsticks()),
            StudyEnded(state="interrupted"),
        ):
            journal.append(event)
    return folder.root


def run(studies, *arguments):
    options = ["--studies-dir", str(studies)]
    return CliRunner().invoke(main, ["export", *map(str, arguments), *options])


@pytest.fixture(scope="module")
def best(studies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "best"
    result = run(studies, "jets", "--to", folder)
    assert result.exit_code == 0, result.output
    return folder, result


def test_the_best_trial_is_written_checked_and_shown_how_to_use(best):
    folder, result = best
    first, second, last = result.stdout.splitlines()
    assert first == f"{folder}: trial 0001 of jets, epoch 6, as TensorFlow SavedModel"
    assert second.startswith("Checked on 48 jets, test jets of small: ")
    assert last == f"Next: python {folder}/example.py; README.md is its card"
    assert (folder / "saved_model.pb").is_file()
    config = load_study_config(folder / "config.yaml")
    assert (config.training.n_epochs, config.training.learning_rate) == (6, 1e-3)
    assert json.loads((folder / "dataset.json").read_text())["name"] == "small"


def test_no_path_of_this_machine_is_given_away_but_that_of_the_jets(best, studies):
    for name in ("README.md", "export.json", "model.json"):
        assert str(studies.parent) not in (best[0] / name).read_text(), name
    assert read_model(best[0]).origin == "study jets, trial 0001, epoch 6"


def test_the_card_says_what_a_stranger_needs(best):
    card = (best[0] / "README.md").read_text()
    for words in (
        "# Jet clusters: study jets, trial 0001",
        "144 training jets of small (the sample that ships), checksum abc",
        "10 < mass < 200 GeV",
        "80.0 % of 1,000 test jets",
        "95 % interval 77.4 to 82.4 %",
        "| k-means on the jet mass | 61.0 % |",
        "| 0 | w | 3 w, 1 z |",
        "tf.saved_model.load",
        "`with_jet`",
        "On 48 jets (test jets of small)",
    ):
        assert words in card, words


def test_another_trial_is_told_not_to_be_measured_on_test_jets(studies, tmp_path):
    result = run(studies, "jets/2", "--to", tmp_path / "second", "--format", "folder")
    assert result.exit_code == 0, result.output
    assert "trial 0002 of jets, epoch 2" in result.stdout
    card = (tmp_path / "second" / "README.md").read_text()
    assert "31.0 % of 12 validation jets" in card
    assert "it was not measured on test jets" in card
    assert read_model(tmp_path / "second").optimizer is None


def test_a_model_folder_can_be_exported_too(studies, tmp_path):
    write_model(make_model(), tmp_path / "model")
    result = run(studies, tmp_path / "model", "--to", tmp_path / "out", "--format", "folder")
    assert result.exit_code == 0, result.output
    assert "Nothing else is known of its training" in (tmp_path / "out" / "README.md").read_text()


def test_jets_that_are_gone_are_told_and_made_up(studies, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ucluster_tune.report.page.contents.study_config_of",
        lambda *_: study_config(data={"path": str(tmp_path / "gone")}),
    )
    result = run(studies, "jets", "--to", tmp_path / "out", "--format", "folder")
    assert result.exit_code == 0, result.output
    assert "Warning: checked on made-up jets" in result.stderr
    assert "Checked on 256 jets, made-up jets" in result.stdout


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, studies):
    """The same study after a confirmation of trial 0001, whose second seed was the better one."""
    root = tmp_path_factory.mktemp("confirmed") / "studies"
    shutil.copytree(studies, root)
    paths, model = StudiesFolder(root).study("jets"), make_model()
    better = EpochRecord(epoch=3, phase="clustering", clustering_accuracy=0.995)
    with StudyJournal(paths.record) as journal:
        for event in confirmation():
            news: dict[str, object] = {}
            if getattr(event, "training", None) == "c1-seed-12" and event.trial == "0001":
                news = {"record": better} if isinstance(event, EpochEnded) else {}
                news |= {"test": measured(0.71)} if isinstance(event, TrainingEvaluated) else {}
            journal.append(event.model_copy(update=news))
    vectors = {"parameters": model.parameters + 0.25, "averages": model.averages}
    files = paths.trial("0001", "c1-seed-12")
    write_checkpoint(make_checkpoint(3, 3, **vectors), files.checkpoint(3))
    return root


def test_the_confirmed_network_is_that_of_the_seed_best_on_validation_jets(confirmed, tmp_path):
    target = tmp_path / "out"
    result = run(confirmed, "jets", "--to", target, "--format", "folder", "--confirmed")
    assert result.exit_code == 0, result.output
    told = "trial 0001 trained again with seed 12"
    assert f"{target}: {told} of jets, epoch 3, as " in result.stdout
    assert np.array_equal(read_model(target).parameters, make_model().parameters + 0.25)
    assert load_study_config(target / "config.yaml").training.seed == 12
    card = (target / "README.md").read_text()
    for words in (
        f"# Jet clusters: study jets, {told}",
        "Epoch 3 of 6, seed 12,",
        "These weights put 71.0 % of 12 test jets",
        "61.0 to 81.0 %",
        "the configuration reaches 66.0 %, 95 % interval 64.0 to 68.0 %",
        "| this network | 71.0 % |",
        "| k-means on the jet mass | 61.0 % |",
    ):
        assert words in card, words


def test_the_card_of_a_search_quotes_no_confirmation(confirmed, tmp_path):
    result = run(confirmed, "jets", "--to", tmp_path / "out", "--format", "folder")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("the one that was confirmed: --confirmed\n")
    card = (tmp_path / "out" / "README.md").read_text()
    assert confirmation_result().words[0] not in card
    assert "80.0 % of 1,000 test jets" in card


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("jets", 1, "no confirmed finalist.*type `ucluster-tune confirm jets`"),
        ("jets/2", 2, "--confirmed takes the name of a study alone, not 'jets/2'"),
    ],
)
def test_what_was_not_confirmed_is_told_with_the_way(studies, tmp_path, name, code, message):
    result = run(studies, name, "--to", tmp_path / "out", "--confirmed")
    assert result.exit_code == code
    assert re.search(message, " ".join(result.stderr.split()))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jest", "no study 'jest'.*did you mean jets"),
        ("jets/9", "study jets has no trial '0009': its trials are 0001 to 0004"),
        ("jets/best", "study jets has no trial 'best'"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(studies, tmp_path, name, message):
    result = run(studies, name, "--to", tmp_path / "out")
    assert result.exit_code == 1
    assert re.search(message, result.stderr)


@pytest.mark.parametrize("name", ["best.onnx", "best.H5", "best.keras", "best.pb", "best.tar.gz"])
def test_an_ending_that_promises_another_format_is_refused(studies, tmp_path, name):
    result = run(studies, "jets", "--to", tmp_path / name, "--format", "onnx")
    assert result.exit_code == 2
    assert "a folder is made" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "precious").write_text("")
    result = run(tmp_path, "nothing", "--to", tmp_path)
    assert result.exit_code == 1
    assert "nothing is ever overwritten" in result.stderr


PYFUNC = """
import sys
sys.modules["ucluster_tune"] = None  # an import of it fails
import mlflow, numpy as np
jets = np.zeros((70, 3, 4), np.float32)
jets[:, 0] = [500, 10, 90, 510]
found = mlflow.pyfunc.load_model("models:/jets/1").predict(jets)
print(*found.columns, len(found), found.jet_class[0])
"""


@pytest.fixture
def tracked(studies):
    """The same studies, and MLflow knows trial 0001."""
    tracker = Tracker.open(TrackingConfig(), studies)
    run_id = tracker.start_trial(tracker.start_study("jets", {}, {}), "0001", {})
    with StudyJournal(StudiesFolder(studies).study("jets").record) as journal:
        journal.append(TrialTracked(trial="0001", run_id=run_id))
    return studies


@pytest.mark.slow
def test_a_registered_model_is_loaded_by_mlflow_and_by_predict(tracked, tmp_path, jets_parquet):
    studies = tracked
    result = run(studies, "jets", "--to", tmp_path / "best", "--register")
    assert result.exit_code == 0, result.output
    assert "In MLflow's registry: models:/jets/1, for mlflow.pyfunc" in result.stdout
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{studies}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-c", PYFUNC],
        env=environment() | store | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *columns, n_jets, jet_class = done.stdout.split()
    assert columns[:2] == ["cluster", "jet_class"]
    assert columns[-1] == "distance_2"
    assert (n_jets, jet_class in "wzt") == ("70", True)
    out = tmp_path / "clusters.parquet"
    options = ["--split", "test", "--out", str(out)]
    environment_of = {"UCLUSTER_TUNE_STUDIES": str(studies)}
    predicted = CliRunner(env=environment_of).invoke(
        main, ["predict", "models:/jets/1", str(jets_parquet), *options]
    )
    assert predicted.exit_code == 0, predicted.output
    assert out.is_file()


@pytest.mark.parametrize(("name", "kind"), [("jets", "folder"), ("model", "savedmodel")])
def test_what_mlflow_cannot_load_is_not_registered(studies, tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    write_model(make_model(), tmp_path / "model")
    result = run(studies, name, "--to", tmp_path / "out", "--format", kind, "--register")
    assert result.exit_code == 2
    assert "--register takes a trial of a study" in result.stderr


def test_a_trial_that_mlflow_does_not_know_is_written_and_told(studies, tmp_path):
    result = run(studies, "jets/2", "--to", tmp_path / "out", "--format", "onnx", "--register")
    assert result.exit_code == 1
    assert "repair jets" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["models:/jets", "models:/jets/", "models:/@best", "models:/"])
def test_a_version_must_be_named(studies, jets_parquet, tmp_path, model):
    result = CliRunner(env={"UCLUSTER_TUNE_STUDIES": str(studies)}).invoke(
        main, ["predict", model, str(jets_parquet), "--out", str(tmp_path / "out.csv")]
    )
    assert result.exit_code == 1
    assert "name a version" in result.stderr


def test_a_registry_that_is_not_there_is_told(tmp_path, jets_parquet):
    result = CliRunner(env={"UCLUSTER_TUNE_STUDIES": str(tmp_path)}).invoke(
        main, ["predict", "models:/jets/1", str(jets_parquet), "--out", str(tmp_path / "out.csv")]
    )
    assert result.exit_code == 1
    assert "MLflow keeps nothing in" in result.stderr


def test_the_formats_of_the_help_are_those_there_are():
    assert command.FORMATS == FORMATS
