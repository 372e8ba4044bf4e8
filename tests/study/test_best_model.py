from pathlib import Path

import pytest

from tests.study_events import four_trials, started
from ucluster_tune.errors import StudyError
from ucluster_tune.study.journal import StudyJournal
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.status import model_folder, trained_config


def write_record(root, events):
    paths = StudyPaths(root)
    root.mkdir()
    with StudyJournal(paths.record) as journal:
        for event in events:
            journal.append(event)
    return paths


def test_a_study_stands_for_its_best_trial(tmp_path, monkeypatch):
    paths = write_record(tmp_path / "jets", four_trials())
    assert model_folder(paths.root) == str(paths.trial("0001").root)
    monkeypatch.chdir(tmp_path)
    assert model_folder(Path("jets")) == str(paths.trial("0001").root)


def test_a_study_without_an_epoch_is_told(tmp_path):
    paths = write_record(tmp_path / "jets", [started()])
    with pytest.raises(StudyError, match="study jets has no best trial yet"):
        model_folder(paths.root)


def test_any_other_path_stays_as_it_is(tmp_path):
    paths = write_record(tmp_path / "jets", four_trials())
    for path in (paths.trial("0002").root, tmp_path / "none", Path("model")):
        assert model_folder(path) == str(path)


def test_names_of_studies_and_trials_stand_for_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UCLUSTER_TUNE_STUDIES", raising=False)
    (tmp_path / "studies").mkdir()
    paths = write_record(tmp_path / "studies" / "jets", four_trials())
    for trial in ("0001", "0002"):
        paths.trial(trial).config.parent.mkdir(parents=True)
        paths.trial(trial).config.touch()
    assert model_folder("jets") == str(paths.trial("0001").root)
    for name in ("jets/0002", "jets/2"):
        assert model_folder(name) == str(paths.trial("0002").root)
        assert trained_config(Path(name)) == paths.trial("0002").config
    assert trained_config(Path("jets")) == paths.trial("0001").config
    paths.best_yaml.touch()
    assert trained_config(Path("jets")) == paths.best_yaml
    assert trained_config(Path("jest")) == Path("jest")
    with pytest.raises(StudyError, match="has no trial '7'; there are 0001, 0002"):
        model_folder("jets/7")
    (tmp_path / "jets").mkdir()  # what lies there goes first
    assert model_folder("jets") == "jets"
