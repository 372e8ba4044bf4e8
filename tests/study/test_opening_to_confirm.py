"""What must hold before finalists are trained again."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_datasets import write_jets
from tests.study_answers import confirmation
from tests.study_events import four_trials, trial_ended
from ucluster_tune.data.format.manifest import read_manifest
from ucluster_tune.errors import ConfigurationError, DataError, StudyError
from ucluster_tune.study.confirming import ConfirmationRequest
from ucluster_tune.study.events import ConfirmationPlanned, StudyEnded, StudyResumed
from ucluster_tune.study.journal import StudyJournal, read_record
from ucluster_tune.study.opening import known_study, study_to_confirm
from ucluster_tune.study.paths import StudiesFolder, StudyPaths


@pytest.fixture
def study(tmp_path: Path) -> StudyPaths:
    """Four trials, all ended; the best one, 0001, is complete."""
    paths = StudiesFolder(tmp_path).study("jets")
    paths.root.mkdir()
    with StudyJournal(paths.record) as journal:
        for event in four_trials():
            journal.append(event)
        journal.append(trial_ended("0004", "stopped_early", 1))
        journal.append(StudyEnded(state="complete"))
    return paths


def folder_of(study: StudyPaths) -> StudiesFolder:
    return StudiesFolder(study.root.parent)


def test_plan_is_in_the_record_once_a_driver_begins_and_not_before(study: StudyPaths) -> None:
    before = study.record.read_bytes()
    request = ConfirmationRequest(top=1, n_seeds=2)
    with study_to_confirm(folder_of(study), "jets", request) as opened:
        assert opened.confirmation is not None
        assert opened.checksum == "abc"
        assert "0 of 4 trainings are done" in opened.remarks[0]
        assert study.record.read_bytes() == before
        with StudyJournal(study.record) as journal:
            opened.begin(journal, StudyResumed(code_version="0", host="h", purpose="confirmation"))
    record = read_record(study.record)
    assert record.open_confirmation is not None
    assert record.open_confirmation.plan == opened.confirmation
    with study_to_confirm(folder_of(study), "jets", ConfirmationRequest()) as again:
        assert again.confirmation == opened.confirmation
        assert not any(isinstance(event, ConfirmationPlanned) for event in again.news)


def test_jets_and_workers_of_a_training_may_be_others_than_the_search_s(study: StudyPaths) -> None:
    request = ConfirmationRequest(n_jets=4800, n_workers=2)
    with study_to_confirm(folder_of(study), "jets", request) as opened:
        assert opened.confirmation is not None
        assert opened.config.resources.n_workers == 2
        plans = [plan for _, plan in opened.confirmation.trainings()]
        assert {plan.world_size for plan in plans} == {2}
        assert all(plan.hyperparameters == {"training.n_jets": 4800} for plan in plans)
        news, begun = opened.news, StudyResumed(code_version="0", host="h", purpose="confirmation")
        with StudyJournal(study.record) as journal:
            opened.begin(journal, begun)
    assert news
    with (
        pytest.raises(StudyError, match="not finished, c1, with --jets 4800, not 20"),
        study_to_confirm(folder_of(study), "jets", ConfirmationRequest(n_jets=20)),
    ):
        pass


def test_other_jets_are_known_by_their_own_checksum(study: StudyPaths, tmp_path: Path) -> None:
    jets = write_jets(tmp_path / "more")
    request = ConfirmationRequest(data_path=str(jets))
    with study_to_confirm(folder_of(study), "jets", request) as opened:
        assert opened.config.data.path == str(jets)
        assert opened.checksum == read_manifest(jets).dataset_checksum
        assert opened.has_other_jets


def test_training_with_labels_has_an_output_for_each_class_of_its_jets(
    study: StudyPaths, tmp_path: Path
) -> None:
    jets = write_jets(tmp_path / "more", classes=("w", "t"))
    request = ConfirmationRequest(top=1, data_path=str(jets), is_supervised=True)
    with study_to_confirm(folder_of(study), "jets", request) as opened:
        assert opened.confirmation is not None
        trial, plan = opened.confirmation.trainings()[-1]
        assert (trial, plan.role) == ("supervised", "baseline")
        assert plan.hyperparameters == {
            "model.head": "classes", "model.n_clusters": 2, "training.n_pretraining_epochs": 1
        }  # fmt: skip
    one_class = write_jets(tmp_path / "tops", classes=("t",))
    with (
        pytest.raises(StudyError, match="--supervised needs jets of two classes or more"),
        study_to_confirm(folder_of(study), "jets", replace(request, data_path=str(one_class))),
    ):
        pass


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (ConfirmationRequest(n_epochs=2), ConfigurationError, "n_pretraining_epochs"),
        (ConfirmationRequest(data_path="/nowhere"), DataError, "/nowhere"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    study: StudyPaths, request_: ConfirmationRequest, error: type[Exception], message: str
) -> None:
    before = study.record.read_bytes()
    with pytest.raises(error, match=message):
        study_to_confirm(folder_of(study), "jets", request_).__enter__()
    assert study.record.read_bytes() == before


def test_resume_of_a_finished_search_names_the_confirmation_that_is_open(
    study: StudyPaths,
) -> None:
    with StudyJournal(study.record) as journal:
        for event in confirmation(is_ended=False)[1:]:
            journal.append(event)
    with pytest.raises(StudyError, match="carry that on with `ucluster-tune confirm jets`"):
        known_study(folder_of(study), "jets").__enter__()


def test_jets_without_classes_cannot_confirm_and_others_can(tmp_path: Path) -> None:
    paths = StudiesFolder(tmp_path / "studies").study("jets")
    paths.root.mkdir(parents=True)
    begun = four_trials()[0].model_copy(update={"is_labelled": False})
    with StudyJournal(paths.record) as journal:
        for event in (begun, *four_trials()[1:], trial_ended("0004", "stopped_early", 1)):
            journal.append(event)
        journal.append(StudyEnded(state="complete"))
    nameless = write_jets(tmp_path / "nameless", is_labelled=False)
    for request in (ConfirmationRequest(), ConfirmationRequest(data_path=str(nameless))):
        with (
            pytest.raises(StudyError, match=r"no classes; name jets that have.*--data PATH"),
            study_to_confirm(folder_of(paths), "jets", request),
        ):
            pass
    labelled = str(write_jets(tmp_path / "labelled"))
    request = ConfirmationRequest(data_path=labelled)
    with study_to_confirm(folder_of(paths), "jets", request) as opened:
        assert opened.config.data.path == labelled
