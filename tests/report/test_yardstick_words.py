"""What is told of yardsticks, while a search runs and at its end."""

import io
from typing import Any

import pytest
from rich.console import Console

from tests.study_answers import yardsticks
from tests.study_events import epoch, started, study_config, trial_ended, trial_started
from ucluster_tune.report.live import LiveTable
from ucluster_tune.report.study_tables import found, status_view
from ucluster_tune.report.yardstick_tables import yardsticks_view
from ucluster_tune.report.yardstick_words import beside_mass, reference_words
from ucluster_tune.study.events import StudyEnded, StudyEvaluated, YardsticksMeasured
from ucluster_tune.study.record import StudyRecord

MEASURED = YardsticksMeasured(yardsticks=yardsticks())
TEST = {"clustering_accuracy": 0.6, "clustering_accuracy_batched": 0.61}


def record_of(accuracy: float, *more: Any) -> StudyRecord:
    record = StudyRecord(started())
    for event in (MEASURED, trial_started("0001"), epoch("0001", 3, accuracy), *more):
        record.apply(event)
    return record


def text_of(view: Any) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(view, crop=False)
    return console.export_text()


def words(view: Any) -> str:
    return " ".join(text_of(view).split())


def ended(accuracy: float) -> StudyRecord:
    return record_of(
        accuracy,
        trial_ended("0001", "complete", 6),
        StudyEvaluated(trial="0001", test=TEST),
        StudyEnded(state="complete"),
    )


def test_status_tells_the_yardsticks_on_the_jets_that_trials_are_chosen_on() -> None:
    told = words(status_view(record_of(0.7)))
    assert (
        "On the same validation jets: k-means on the jet mass 62.0 %, two mass thresholds" in told
    )
    assert "(use labels) 83.0 %" in told
    assert "accuracy 70.0 %, 8.0 points above k-means on the jet mass" in told
    assert "the reference, 81.0 %, which is of other jets" in told


def test_end_page_tells_them_on_test_jets_with_their_intervals() -> None:
    text = text_of(found(ended(0.7)))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "61.0 %" in lines["k-means on the jet mass, test"]
    assert "82.0 %" in lines["two mass thresholds (use labels), test"]
    assert max(map(len, text.splitlines())) <= 80
    assert "no yardstick here: sample holds other jets" in words(text)
    assert "does not beat" not in text


@pytest.mark.parametrize("accuracy", [0.5, 0.62])
def test_best_trial_that_does_not_beat_the_mass_is_told_so(accuracy: float) -> None:
    for view in (found(ended(accuracy)), status_view(ended(accuracy))):
        told = f"best trial, {100 * accuracy:.1f} %, does not beat k-means on the jet mass, 62.0 %"
        assert told in words(view)
    assert "does not beat" not in words(status_view(record_of(accuracy)))  # while it may yet


def test_line_of_an_epoch_compares_with_the_mass_on_the_same_jets() -> None:
    out = io.StringIO()
    live = LiveTable(Console(file=out, width=300))
    record = record_of(0.7)
    live.on_study_start(study_config(), record)
    live.on_event(epoch("0001", 3, 0.7), record)
    line = out.getvalue().splitlines()[-1]
    assert line.endswith("in batches 70.0 %, 8.0 points above k-means on the jet mass")


def test_mass_on_validation_jets_is_compared_with_until_more_is_known() -> None:
    mass = {"clustering_accuracy": 0.6, "split": "validation"}
    first = started().model_copy(update={"baselines": {"kmeans_mass": mass}})
    assert beside_mass(StudyRecord(first), 0.5) == "10.0 points below k-means on the jet mass"
    on_test = {"kmeans_mass": {**mass, "split": "test"}}
    of_test = StudyRecord(started().model_copy(update={"baselines": on_test}))
    assert beside_mass(of_test, 0.5) == ""


def test_reference_is_a_yardstick_on_its_own_jets_alone() -> None:
    assert reference_words(yardsticks(is_reference_data=True), 0.81, "paper") == (
        "reference 81.0 %: paper"
    )
    assert "no yardstick here" in reference_words(yardsticks(), 0.81, "paper")


def test_table_tells_how_each_yardstick_was_made() -> None:
    text = text_of(yardsticks_view(yardsticks(), 0.81, "paper"))
    assert text.startswith("On 12 test jets of sample\n")
    assert "k-means on the jet mass: in words" in text
    assert "51.0 to 71.0" in text
