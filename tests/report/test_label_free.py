"""Trials are ranked by what they left, without a look at a label."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.label_free_study import N_JETS, TRUTH, label_free_study, write_left_files
from ucluster_tune.report.label_free import (
    CRITERIA,
    LabelFreeRanking,
    agreement_with_labels,
    rank_without_labels,
)
from ucluster_tune.report.label_free_table import predicts_sentences, ranking_view
from ucluster_tune.report.page.contents import read_contents
from ucluster_tune.report.page.criteria import criteria_section
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

N_TRIALS = 12


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecord, StudyPaths]:
    paths = StudyPaths(tmp_path_factory.mktemp("studies") / "jets")
    return label_free_study(paths, N_TRIALS), paths


@pytest.fixture(scope="module")
def ranking(study: tuple[StudyRecord, StudyPaths]) -> LabelFreeRanking:
    return rank_without_labels(*study)


def test_trials_rank_by_their_clusters_in_the_embeddings_of_others(
    ranking: LabelFreeRanking,
) -> None:
    ids = [trial.id for trial in ranking.trials]
    assert ids == sorted(ids)
    assert (ranking.by, ranking.note, ranking.n_jets) == ("cross_space", "", N_JETS)
    assert ranking.n_spaces == N_TRIALS


def test_the_epoch_before_the_fall_is_chosen(ranking: LabelFreeRanking) -> None:
    assert [trial.epoch.epoch for trial in ranking.trials] == [5] * N_TRIALS


def test_no_label_is_looked_at(ranking: LabelFreeRanking, tmp_path: Path) -> None:
    """Neither those of the files nor those of the record, be they what they may."""
    paths = StudyPaths(tmp_path / "jets")
    wrong = np.random.default_rng(1).permutation(TRUTH)
    record = label_free_study(paths, N_TRIALS, classes=wrong)
    for trial in record.trials.values():
        for epoch in trial.records:
            for name in ("clustering_accuracy", "purity", "nmi", "ari"):
                object.__setattr__(epoch, name, float("nan"))
    found = rank_without_labels(record, paths)
    assert [(t.id, t.epoch.epoch, t.cross_space) for t in found.trials] == [
        (t.id, t.epoch.epoch, t.cross_space) for t in ranking.trials
    ]


def test_an_epoch_that_labels_chose_is_no_candidate(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "jets")
    record = label_free_study(paths, 3)
    for trial in record.trials.values():  # the best by accuracy, kept for that reason
        epoch = trial.records[2]
        object.__setattr__(epoch, "clustering_accuracy", 0.99)
        trial.best_training.best = epoch
        write_left_files(paths, trial.id, 3, spoiled=0.0)
        shutil.copy(paths.trial(trial.id).evaluation(3), tmp_path / "kept.npz")
        object.__setattr__(epoch, "stability", 0.1)
    assert [t.epoch.epoch for t in rank_without_labels(record, paths).trials] == [5, 5, 5]


def test_with_too_few_trials_stability_orders_them_and_that_is_said(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "jets")
    found = rank_without_labels(label_free_study(paths, 2), paths)
    assert (found.by, found.n_spaces) == ("stability", 0)
    assert "3 trials" in found.note
    assert all(trial.cross_space is None for trial in found.trials)


def test_trials_that_cannot_be_ranked_are_named_with_the_reason(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "jets")
    record = label_free_study(paths, 7)
    shutil.rmtree(paths.trial("0001").evaluation(5).parent)
    damaged = paths.trial("0002").evaluation(5)
    damaged.write_bytes(damaged.read_bytes()[:100])
    record.trials["0003"].trainings["first"].outcome = "failed"
    del record.trials["0004"].trainings["first"].records[2:]
    other = paths.trial("0005").evaluation(5)
    with np.load(other) as arrays:
        np.savez(other, **{**arrays, "mass_gev": arrays["mass_gev"][::-1]})
    found = rank_without_labels(record, paths)
    assert [trial.id for trial in found.trials] == ["0006", "0007"]
    reasons = {name: re.sub(r"/\S+", "FILE", why) for name, why in found.left_out.items()}
    assert reasons["0001"].startswith("no evaluation of an epoch of its clustering phase")
    assert "cannot be read" in reasons["0002"]
    assert reasons["0003"] == "it failed"
    assert reasons["0004"] == "it did not come to the clustering phase"
    assert "other jets" in reasons["0005"]


def test_how_well_criteria_predict_the_accuracy(ranking: LabelFreeRanking) -> None:
    found = {one.criterion: one for one in agreement_with_labels(ranking)}
    assert list(found) == list(CRITERIA)
    cross = found["cross_space"]
    assert cross.correlation == pytest.approx(1.0)
    assert cross.interval is not None and cross.interval[0] > 0.9
    assert cross.accuracy_of_choice == pytest.approx(1 - 0.7 / 13 + 0.05)
    silhouette = found["silhouette"]  # grows as the accuracy falls
    assert silhouette.correlation == pytest.approx(-1.0)
    assert found["stability"].correlation is None  # the same for all
    assert found["stability"].accuracy_of_choice == cross.accuracy_of_choice  # the first of them
    (words,) = predicts_sentences(list(found.values()))
    assert "rank in other embeddings" in words and "silhouette" not in words


def test_too_few_trials_to_tell(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "jets")
    found = agreement_with_labels(rank_without_labels(label_free_study(paths, 4), paths))
    assert all(one.correlation is None for one in found)
    assert "too few trials to tell; 4" in predicts_sentences(found)[0]


def test_the_table_tells_the_accuracy_where_there_is_one(
    ranking: LabelFreeRanking, study: tuple[StudyRecord, StudyPaths]
) -> None:
    record, _ = study
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ranking_view(ranking, record))
    text = console.export_text()
    assert "not looked at" in text
    assert "99.6 %" in text
    assert "240 validation jets, held against each other in 12 embeddings" in text


def test_the_page_tells_the_ranking_and_what_it_is_worth(
    study: tuple[StudyRecord, StudyPaths],
) -> None:
    section = criteria_section(read_contents(*study))
    assert section.sentences[0].startswith("Without labels trial 0001 at epoch 5 ranks highest")
    criteria, trials = section.tables
    assert criteria.rows[0][:3] == ("rank in other embeddings", "12", "+1.00")
    assert trials.columns[-1] == "accuracy"
    assert len(trials.rows) == N_TRIALS
