"""Commands that a cluster carries out where one is up; a script stands for ssh and the network."""

import os
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.cli.test_ui import write_study
from tests.cluster.far_head import FarHead
from ucluster_tune.cli.main import main
from ucluster_tune.cli.studies.on_cluster import OnCluster, typed_words

# Ray's launcher leaves files open that it has read.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A cluster that is up, with a studies folder of its own; its file lies in the folder."""
    folder = tmp_path / "lab"
    folder.mkdir()
    studies = folder / "studies"
    head = FarHead(folder, monkeypatch, f"export UCLUSTER_TUNE_STUDIES={studies}\n")
    (folder / "bin" / "grep").write_text("#!/bin/sh\nexit 0\n")  # Ray's process is there
    (folder / "bin" / "grep").chmod(0o755)
    monkeypatch.chdir(folder)
    return head


def typed(*words):
    return CliRunner().invoke(main, list(words))


def test_a_command_on_a_study_is_typed_again_on_the_head(lab, capfd):
    assert typed("list").exit_code == 0
    said = capfd.readouterr()
    assert f"No study in {lab.folder}/studies" in said.err
    assert "ucluster-tune list --local" in lab.log()


def test_its_exit_code_and_error_are_those_of_the_head(lab, capfd):
    result = typed("status", "nix", "--json")
    assert result.exit_code == 1
    assert "no study 'nix'" in capfd.readouterr().err
    assert "On cluster lab, head 127.0.0.1" in result.stderr


def test_what_a_login_prints_does_not_hide_the_studies(lab):
    lab.chatter(b"Welcome to the lab\n", b"Goodbye\n", "echo hello from the profile\n")
    result = typed("resume", "--all")
    assert result.exit_code == 0, result.output
    assert "On cluster lab" in result.stderr
    assert "No study was interrupted" in result.stderr


def test_pages_of_a_server_with_a_certificate_are_named_as_they_are(lab):
    uri = "https://mlflow.example.org"
    write_study(lab.folder / "studies", "jets", tracking={"uri": uri}, tracking_uri=uri)
    result = typed("ui", "--no-browser")
    assert result.exit_code == 0, result.output
    assert "MLflow of cluster lab is a server of its own" in result.stderr
    assert "\n  https://mlflow.example.org/#/experiments/" in result.stdout
    assert "'-L'" not in lab.log()


def test_local_leaves_the_cluster_alone(lab, capfd):
    assert "No study in" in typed("list", "--local", "--studies-dir", "here").stderr
    assert not (lab.folder / "ssh.log").exists()


@pytest.mark.parametrize("command", [("list",), ("run", "jets.yaml"), ("cluster", "check")])
def test_a_relative_studies_folder_is_refused_on_a_cluster(lab, command):
    result = typed(*command, "--studies-dir", "here")
    assert result.exit_code == 2
    assert "--studies-dir here means a folder of this machine; on cluster lab" in result.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("resume", "jets", "--data", "moved"), "--data moved"),
        (("resume", "--all", "--data=../moved"), "--data ../moved"),
        (
            ("extend", "jets", "--trials", "1", "--set", "data.path='moved'"),
            "--set data.path moved",
        ),
    ],
)
def test_a_relative_folder_of_jets_is_refused_on_a_cluster(lab, command, told):
    result = typed(*command)
    assert result.exit_code == 2
    assert f"{told} means a folder of this machine; on cluster lab" in result.stderr


def test_a_cluster_that_is_named_but_down_is_an_error(lab):
    lab.cut_cable()
    result = typed("list", "--cluster", str(lab.file))
    assert result.exit_code == 1
    assert (
        f"Error: {lab.file}: the connection to 127.0.0.1, the head of cluster lab" in result.stderr
    )
    assert "refused: ssh: connect to host lab: No route to host" in result.stderr


def test_a_cluster_whose_file_just_lies_there_may_be_down(lab):
    lab.cut_cable()
    result = typed("list", "--studies-dir", "here")
    assert result.exit_code == 0
    assert "No study in" in result.stderr


def test_a_search_says_why_it_does_not_run_on_the_cluster(lab):
    lab.cut_cable()
    result = typed("resume", "nix", "--studies-dir", "here")
    assert "No route to host" in result.stderr
    assert "So the search does not run there." in result.stderr


def test_no_word_of_aws_where_nobody_asked_for_a_cluster(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("UCLUSTER_TUNE_LOCAL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(Path(__file__).parents[2] / "ray_cluster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    result = typed("resume", "nix", "--studies-dir", "here")
    assert result.stderr.startswith("Error: no study 'nix'")
    asked = typed("resume", "nix", "--cluster", "ray_cluster.yaml")
    assert "there are no AWS credentials here (`aws configure` makes them)" in asked.stderr


def test_cluster_and_local_exclude_each_other(lab):
    result = typed("list", "--cluster", str(lab.file), "--local")
    assert result.exit_code == 2
    assert "either --cluster FILE or --local" in result.stderr


@pytest.mark.parametrize(
    "command", [("run", "jets.yaml"), ("resume", "jets"), ("cluster", "check")]
)
def test_cluster_and_address_exclude_each_other(lab, command):
    result = typed(*command, "--cluster", str(lab.file), "--address", "127.0.0.1:6379")
    assert result.exit_code == 2
    assert "give either --cluster FILE or --address HOST:PORT" in result.stderr
    assert not (lab.folder / "ssh.log").exists()


def test_cluster_that_is_named_wins_over_a_ray_of_the_environment(lab, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    moved = ("--data", "s3://bucket/moved")  # is no relative folder
    result = typed("resume", "--all", "--cluster", str(lab.file), *moved)
    assert result.exit_code == 0, result.output
    assert "On cluster lab" in result.stderr
    assert "No study was interrupted" in result.stderr


def test_a_search_space_with_faults_is_not_sent(lab, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("data: {path: x}\nnonsense: 1\n")
    result = typed("run", str(file))
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_jets_that_would_be_fetched_there_need_a_yes(lab, tmp_path):
    file = tmp_path / "jets.yaml"
    file.write_text("data: {path: 10.5281/zenodo.3602254}\n")
    result = typed("run", str(file))
    assert result.exit_code == 1
    assert "is to be fetched and converted on the cluster" in result.stderr
    assert "--yes" in result.stderr


def test_words_that_say_where_are_not_sent_along():
    seen = {}

    @click.command(cls=OnCluster)
    @click.argument("name")
    @click.option("--json", "as_json", is_flag=True)
    @click.pass_context
    def command(ctx, /, **_):
        seen["words"] = typed_words(ctx)

    CliRunner().invoke(command, ["--local", "a b", "--json"])
    assert seen["words"] == ["a b", "--json"]
