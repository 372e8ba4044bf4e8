"""The folder of a study that begins, and what a driver leaves that was killed before."""

import pytest

from tests.study_events import started, study_config
from ucluster_tune.errors import StudyError
from ucluster_tune.study.folder import refuse_existing, study_folder
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.lock import DriverLock
from ucluster_tune.study.paths import StudiesFolder, StudyPaths


@pytest.fixture
def paths(tmp_path) -> StudyPaths:
    return StudiesFolder(tmp_path).study("jets")


def begin(paths: StudyPaths) -> None:
    with study_folder(study_config(), paths), StudyJournal(paths.record) as journal:
        journal.append(started())


def test_study_that_began_is_refused_and_resume_named(paths):
    begin(paths)
    with pytest.raises(StudyError, match="ucluster-tune resume jets"):
        refuse_existing(paths)
    with pytest.raises(StudyError, match="exists already"):
        begin(paths)


def test_study_that_was_killed_before_its_first_event_begins_anew(paths):
    paths.trials.mkdir(parents=True)
    for file in (paths.study_yaml, paths.lock, paths.driver, paths.record, paths.log):
        file.touch()
    refuse_existing(paths)
    begin(paths)
    assert paths.record.stat().st_size


def test_folder_that_holds_anything_else_is_refused(paths):
    paths.trials.mkdir(parents=True)
    (paths.root / "thesis.tex").touch()
    with pytest.raises(StudyError, match="is there without a record"):
        refuse_existing(paths)


def test_folder_of_a_study_that_never_began_does_not_stay(paths):
    with pytest.raises(ZeroDivisionError), study_folder(study_config(), paths):
        raise ZeroDivisionError
    assert not paths.root.exists()


def test_study_that_runs_is_told_as_one_with_the_way_to_stop_it(paths):
    begin(paths)
    with DriverLock(paths):
        with pytest.raises(StudyError, match=r"jets runs already.*`ucluster-tune stop jets`"):
            refuse_existing(paths)
        with pytest.raises(StudyError, match=r"being run by .*`ucluster-tune stop jets`"):
            DriverLock(paths).__enter__()
