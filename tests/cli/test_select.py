"""`ucluster-tune select`, as typed."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.label_free_study import label_free_study
from ucluster_tune.cli.main import main
from ucluster_tune.cli.studies import select as command
from ucluster_tune.report.label_free import CRITERIA
from ucluster_tune.study.paths import StudiesFolder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = StudiesFolder(tmp_path_factory.mktemp("a place") / "studies")
    label_free_study(folder.study("jets"), 4)
    label_free_study(folder.study("new"), 0)
    return folder.root


def select(studies: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["select", *arguments, "--studies-dir", str(studies)])


def test_the_criteria_are_those_of_the_ranking() -> None:
    assert command.CRITERIA == CRITERIA


def test_trials_are_ranked_and_the_next_command_exports_the_epoch(studies: Path) -> None:
    result = select(studies, "jets", "--without-labels")
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines() if " 000" in line]
    assert rows == ["0001", "0002", "0003", "0004"]
    place = studies / "jets" / "trials" / "0001" / "checkpoints" / "epoch-0005.ckpt"
    assert f"export {shlex.quote(str(place))} --to best" in result.stderr


def test_json_is_json_alone(studies: Path) -> None:
    document = json.loads(select(studies, "jets", "--without-labels", "--json").stdout)
    first = document["trials"][0]
    assert (first["id"], first["epoch"], document["by"]) == ("0001", 5, "cross_space")
    assert {*CRITERIA, "clustering_accuracy", "checkpoint"} < first.keys()
    assert first["checkpoint"].endswith("0001/checkpoints/epoch-0005.ckpt")


def test_another_criterion_orders_them(studies: Path) -> None:
    told = select(studies, "jets", "--without-labels", "--by", "silhouette", "--json")
    assert [t["id"] for t in json.loads(told.stdout)["trials"]] == ["0004", "0003", "0002", "0001"]


def test_labels_are_what_status_is_for(studies: Path) -> None:
    result = select(studies, "jets")
    assert result.exit_code == 2
    assert "add --without-labels" in result.stderr


def test_a_study_without_a_trial_to_rank_says_why(studies: Path) -> None:
    result = select(studies, "new", "--without-labels")
    assert result.exit_code == 1
    assert "it has none yet" in result.stderr
