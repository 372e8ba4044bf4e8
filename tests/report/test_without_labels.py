"""Of a study whose jets have no classes nothing is shown that needs them, and nothing is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.label_free_study import write_left_files
from tests.report.test_live import show
from tests.report.test_pictures import words
from tests.report.test_study_tables import fold, text_of
from tests.study_events import (
    epoch,
    started,
    study_config,
    trial_ended,
    trial_started,
)
from ucluster_tune.report.bundle.measures import csv_files
from ucluster_tune.report.event_lines import lines_of_event
from ucluster_tune.report.model_card import class_of_cluster
from ucluster_tune.report.page.contents import read_contents
from ucluster_tune.report.page.writing import write_study_page
from ucluster_tune.report.pictures import draw_trial_pictures
from ucluster_tune.report.progress import TrainingProgress, training_summary
from ucluster_tune.report.study_tables import found, next_commands, status_view
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.tracking.mlflow.tracked_study import study_metrics

NAN = float("nan")
OF_LABELS = re.compile(
    r"accuracy(?! of)|in\s+batches|81|purity|nmi|k-means on the jet mass|class\b"
)
NOTHING = {
    **dict.fromkeys(("clustering_accuracy_batched", "purity", "nmi", "ari"), NAN),
    "confusion": [[], [], []],
    "class_names": [],
}
CONFIG = study_config(objective={"metric": "silhouette"}, budget={"n_trials": 3})


def events() -> list[Any]:
    found: list[Any] = [started(CONFIG).model_copy(update={"is_labelled": False})]
    for n in range(1, 4):
        trial = f"{n:04d}"
        found.append(trial_started(trial, **{"training.learning_rate": n / 1000}))
        for number in range(1, 7):
            values = {"silhouette": 0.5 + n / 10, "stability": 0.9} | NOTHING
            found.append(epoch(trial, number, NAN, **values))
        found.append(trial_ended(trial, "complete", 6))
    return found


def told_of_labels(text: str) -> list[str]:
    """What of a text needs labels, but for the sentence that there are none."""
    return OF_LABELS.findall(text.replace("have no classes: there is no accuracy", ""))


@pytest.mark.parametrize("state", ["running", "interrupted", "complete"])
def test_tables_show_the_objective_alone(state: Any, tmp_path: Path) -> None:
    record = fold(events() if state == "running" else [*events(), StudyEnded(state=state)])
    text = text_of(status_view(record), width=100)
    assert told_of_labels(text) == []
    told = (
        "silhouette 0.800 on validation jets" if state == "complete" else "Best so far: trial 0003"
    )
    assert told in text
    paths = StudiesFolder(tmp_path).study("jets")
    commands = text_of(next_commands(record, paths), width=400)
    assert ("select jets --without-labels" in commands) == (state == "complete")
    assert "confirm" not in commands


def test_what_was_found_says_that_there_are_no_classes() -> None:
    text = text_of(found(fold([*events(), StudyEnded(state="complete")])), width=100)
    assert "The jets have no classes" in text
    assert told_of_labels(text) == []


def test_live_table_and_lines_show_what_is_known() -> None:
    view = show(events(), is_terminal=True)
    assert told_of_labels(view) == []
    record = fold(events())
    (line,) = lines_of_event(events()[-2], record)
    assert "silhouette 0.800, stability 0.900" in line
    assert told_of_labels(line) == []


def test_a_training_shows_and_sums_up_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    record = events()[-2].record
    with TrainingProgress(CONFIG, 0, is_labelled=False) as progress:
        progress.on_epoch(record)
    told = capsys.readouterr().err
    head, line = told.splitlines()
    assert len(head) == len(line)
    assert told_of_labels(told) == []
    summary = training_summary(record, None, CONFIG, "out/epoch-0006.ckpt")
    assert "silhouette 0.800; the jets have no classes" in summary
    assert told_of_labels(summary.replace("no classes", "")) == []


def test_mlflow_is_told_no_reference_and_no_accuracy() -> None:
    metrics = study_metrics(fold(events()))
    assert metrics == {"best_validation_silhouette": 0.8}


def test_an_export_matches_its_clusters_with_nothing() -> None:
    assert class_of_cluster(events()[-2].record) is None


@pytest.fixture
def study(tmp_path: Path) -> StudyPaths:
    """The files that its trials left, without labels."""
    paths = StudyPaths(tmp_path / "jets")
    for n in range(1, 4):
        for number in (3, 5, 6):
            write_left_files(paths, f"{n:04d}", number, spoiled=n / 10, is_labelled=False)
    return paths


def test_pictures_show_clusters_alone(study: StudyPaths, tmp_path: Path) -> None:
    pictures = draw_trial_pictures(study.trial("0001").evaluation(6), tmp_path / "pictures")
    assert [path.name for path in pictures] == ["embedding.png"]


@pytest.mark.slow
def test_the_page_has_no_part_that_needs_labels(study: StudyPaths) -> None:
    record = fold([*events(), StudyEnded(state="complete")])
    page = write_study_page(record, study).page.read_text()
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert "Choosing without labels" in heads
    assert {"Embedding", "Mass spectrum by cluster", "Learning curves"} <= set(heads)
    assert not {h for h in heads if "Yardstick" in h or "Efficiency" in h or "lasses" in h}
    assert "could not be made" not in page
    for svg in study.report.glob("figures/*.svg"):
        assert told_of_labels(" ".join(words(svg))) == [], svg.name
    contents = read_contents(record, study)
    assert csv_files(contents)["metrics/confusion.csv"].count("\n") == 1
