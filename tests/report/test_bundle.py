"""A bundle is whole, says where each file comes from, and its reader finds what was altered."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.study_answers import confirmation, yardsticks
from tests.study_events import four_trials, started, study_config
from ucluster_tune.cli.main import main
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import StudyError
from ucluster_tune.report.bundle.archive import read_bundle
from ucluster_tune.report.bundle.crate import CRATE_JSON
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, YardsticksMeasured
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudiesFolder

TEST = {"clustering_accuracy": 0.8, "confusion": [[400, 50, 50], [0, 200, 50], [50, 0, 200]]}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, jets_parquet: Path) -> Path:
    folder = StudiesFolder(tmp_path_factory.mktemp("studies"))
    paths = folder.study("jets")
    paths.root.mkdir()
    space = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}}
    config = study_config(data={"path": str(jets_parquet)}, search_space=space)
    with StudyJournal(paths.record) as journal:
        for event in (
            started(config),
            *four_trials()[1:],
            StudyEvaluated(trial="0001", test=TEST),
            YardsticksMeasured(yardsticks=yardsticks()),
            *confirmation(),
            StudyEnded(state="interrupted", cause="a test"),
        ):
            journal.append(event)
    return folder.root


@pytest.fixture(scope="module")
def bundle(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    options = ["--bundle", "--out", str(out), "--studies-dir", str(studies)]
    result = CliRunner().invoke(main, ["report", "jets", *options, "--license", "CC0-1.0"])
    assert result.exit_code == 0, result.output
    assert "jets.zip: " in result.stdout
    assert "checked against record.jsonl, under CC0-1.0" in result.stdout
    assert [path.name for path in out.iterdir()] == ["jets.zip"]
    return out / "jets.zip"


def files_in(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def table(bundle: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files_in(bundle)[f"metrics/{name}.csv"].decode())))


def test_what_was_confirmed_is_there_with_all_digits(bundle: Path) -> None:
    first, _, third, _ = table(bundle, "finalists")
    assert (first["trial"], first["is_chosen"], first["protocol"], first["mean"]) == (
        "0001", "True", "clustering_accuracy", "0.66",
    )  # fmt: skip
    assert (third["trial"], third["is_chosen"], third["search_score"]) == (
        "published",
        "False",
        "",
    )
    (difference,) = table(bundle, "comparisons")
    assert (difference["other"], difference["difference"]) == ("published", "0.02")
    assert difference["verdict"] == "undecided"


def test_its_reader_gives_the_study_back(bundle: Path) -> None:
    root, record = read_bundle(bundle)
    assert (record.recorded_name, len(record.trials)) == ("jets", 4)
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC0-1.0"}
    assert "80.0 % of 1,000 test jets" in root["description"]


def test_it_has_all_that_a_supplement_needs(bundle: Path, tmp_path: Path) -> None:
    files = files_in(bundle)
    wanted = {
        *("record.jsonl", "study.yaml", "best.yaml", "answer.md", "dataset.json", "report.html"),
        *("figures/history_by_trial.pdf", "figures/history_by_trial.svg", "tables/yardsticks.tex"),
    }
    assert wanted <= set(files)
    (tmp_path / "best.yaml").write_bytes(files["best.yaml"])
    assert load_study_config(tmp_path / "best.yaml").training.learning_rate == 1e-3


def test_metrics_have_all_digits_and_nothing_for_what_is_not_known(bundle: Path) -> None:
    epochs = table(bundle, "epochs")
    assert len(epochs) == 14  # four of them of the confirmation
    searched = {"0001", "0002", "0003", "0004"}
    assert {row["trial"] for row in epochs} == {*searched, "published"}
    assert epochs[1]["focal_loss"] == "2.0"
    trials = {row["trial"]: row for row in table(bundle, "trials")}
    assert trials["0001"]["training.learning_rate"] == "0.001"
    assert trials["0001"]["clustering_accuracy"] == "0.7"
    assert trials["0003"]["outcome"] == "failed"
    measured = {row["what"]: row for row in table(bundle, "test")}
    assert measured["k-means on the jet mass"]["accuracy"] == "0.61"
    assert measured["best trial of the search"]["batched"] == ""
    cells = [row for row in table(bundle, "confusion") if row["trial"] == "0001"]
    assert sum(int(row["validation_jets"]) for row in cells) == 12


def test_every_file_is_declared_with_what_made_it(bundle: Path) -> None:
    files = files_in(bundle)
    document = json.loads(files[CRATE_JSON])
    assert document["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in document["@graph"]}
    assert {part["@id"] for part in graph["./"]["hasPart"]} == set(files) - {CRATE_JSON}
    assert graph[CRATE_JSON]["about"] == {"@id": "./"}
    search = graph["#search"]
    assert graph[search["object"]["@id"]]["identifier"] == "abc"
    assert graph[search["instrument"]["@id"]]["softwareVersion"] == "0.1.0"
    assert graph["metrics/epochs.csv"]["encodingFormat"] == "text/csv"
    references = json.dumps(document["@graph"]).count('"@id": "#')
    assert references > 3


def altered(bundle: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    files = files_in(bundle)
    change(files)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"jets/{name}", data)
    return target


def without_an_epoch(files: dict[str, bytes]) -> None:
    """A table that was cut, with a checksum that fits."""
    name = "metrics/epochs.csv"
    document = json.loads(files[CRATE_JSON])
    old = hashlib.sha256(files[name]).hexdigest()
    files[name] = b"\n".join(files[name].splitlines()[:-1]) + b"\n"
    new = hashlib.sha256(files[name]).hexdigest()
    files[CRATE_JSON] = json.dumps(document).replace(old, new).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("best.yaml"), "best.yaml is missing"),
        (lambda files: files.update({"more.txt": b""}), "more.txt is not declared"),
        (lambda files: files.update({"answer.md": b"81 %"}), "answer.md was altered"),
        (lambda files: files.pop(CRATE_JSON), "not a bundle"),
        (lambda files: files.update({CRATE_JSON: b"{}"}), "not a bundle"),
        (without_an_epoch, "epochs.csv has 13 epochs, the record 14"),
    ],
)
def test_what_was_altered_is_found(
    bundle: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        read_bundle(altered(bundle, tmp_path / "altered.zip", change))


def test_another_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(StudyError, match="not a bundle"):
        read_bundle(tmp_path / "x.zip")


def test_a_licence_must_be_a_name(studies: Path) -> None:
    options = ["--bundle", "--license", "as you like", "--studies-dir", str(studies)]
    result = CliRunner().invoke(main, ["report", "jets", *options])
    assert result.exit_code == 2
    assert "is no SPDX name" in result.stderr
