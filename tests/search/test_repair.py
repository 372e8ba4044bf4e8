"""What is rebuilt from a record, without the workers that made it."""

from pathlib import Path

import mlflow

from tests.mlflow_store import WithStore
from tests.study_events import four_trials, trial_ended
from ucluster_tune.search.repair import repair_study
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.paths import StudiesFolder


def test_run_that_is_made_anew_has_the_answer_and_the_report_again(
    tmp_path: Path, with_store: WithStore
) -> None:
    folder = StudiesFolder(with_store(tmp_path / "studies"))
    paths = folder.study("jets")
    paths.report.mkdir(parents=True)
    paths.report_page.write_text("<html>")
    with StudyJournal(paths.record) as journal:
        for event in (*four_trials(), trial_ended("0004", "complete", 6)):
            journal.append(event)
        journal.append(StudyEnded(state="complete"))
    found = repair_study(paths, folder, lambda *_: [], lambda record, _: f"{record.name}: 80 %.")
    assert "MLflow: the study's run says complete now" in found.changed
    record = read_record(paths.record)
    assert record.run_id is not None
    client = mlflow.MlflowClient(tracking_uri=record.tracking_uri)
    assert client.get_run(record.run_id).data.tags["mlflow.note.content"] == "jets: 80 %."
    attached = [file.path for file in client.list_artifacts(record.run_id, "report")]
    assert attached == ["report/report.html"]


def test_an_answer_that_mlflow_missed_is_told_it(tmp_path: Path, with_store: WithStore) -> None:
    folder = StudiesFolder(with_store(tmp_path / "studies"))
    paths = folder.study("jets")
    paths.report.mkdir(parents=True)
    paths.report_page.write_text("<html>")
    with StudyJournal(paths.record) as journal:
        for event in (*four_trials(), StudyEnded(state="complete")):
            journal.append(event)

    def repair(words: str) -> list[str]:
        return repair_study(paths, folder, lambda *_: [], lambda *_: words).changed

    repair("It is 80 %.")
    assert repair("It is 80 %.") == []
    paths.report_page.write_text("<html>confirmed")  # by a `confirm` with the store away
    assert repair("Confirmed: 79 %.") == [
        "MLflow: the study's run has another answer and report now"
    ]
    record = read_record(paths.record)
    client = mlflow.MlflowClient(tracking_uri=record.tracking_uri)
    assert record.run_id is not None
    assert client.get_run(record.run_id).data.tags["mlflow.note.content"] == "Confirmed: 79 %."
