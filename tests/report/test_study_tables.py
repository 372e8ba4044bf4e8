import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tests.study_events import (
    epoch,
    four_trials,
    started,
    study_config,
    trial_ended,
    trial_started,
)
from ucluster_tune.report.study_tables import (
    found,
    next_commands,
    status_view,
    studies_table,
)
from ucluster_tune.report.trials_table import MAX_ROWS
from ucluster_tune.study.events import (
    KnownTrial,
    StudyEnded,
    StudyEvaluated,
    StudyResumed,
    TrialRestored,
    TrialResumed,
    WarmStart,
)
from ucluster_tune.study.paths import StudiesFolder
from ucluster_tune.study.record import StudyRecord


def text_of(renderable: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return "\n".join(line.rstrip() for line in lines)


def fold(events: list[Any]) -> StudyRecord:
    record = StudyRecord(events[0])
    for event in events[1:]:
        record.apply(event)
    return record


def finished() -> StudyRecord:
    test = {
        "clustering_accuracy": 0.8,
        "clustering_accuracy_batched": 0.82,
        "confusion": [[40, 5, 5], [0, 20, 5], [5, 0, 20]],
    }
    mass = {"clustering_accuracy": 0.602, "clustering_accuracy_batched": 0.616}
    return fold(
        [
            *four_trials(),
            trial_ended("0004", "stopped_early", 1),
            StudyEvaluated(trial="0001", test=test, baselines={"kmeans_mass": mass}),
            StudyEnded(state="complete"),
        ]
    )


def test_summary_tells_best_configuration_and_accuracies_beside_the_references() -> None:
    text = text_of(found(finished()))
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "Best: trial 0001, epoch 6 of 6" in text
    assert "training.learning_rate   0.001" in text
    assert "70.0 %" in lines["validation jets, where it was chosen"]
    test = lines["test jets, never used before"]
    for told in ("80.0 %", "71.1 to 86.7 %", "82.0 %"):  # Wilson, 100 jets
        assert told in test
    mass = lines["k-means on the jet mass, test jets"]
    assert "60.2 %" in mass
    assert "61.6 %" in mass
    assert lines["reference"].endswith("81.0 %")
    assert "arXiv:2010.07106" in text
    assert "each batch of 512 jets" in text


def test_front_of_several_objectives_is_told_and_none_of_one() -> None:
    config = study_config(objective={"others": ["seconds"]})
    events: list[Any] = [started(config)]
    for trial, accuracy, seconds in (("0001", 0.7, 5.0), ("0002", 0.6, 2.0), ("0003", 0.5, 3.0)):
        events += [trial_started(trial), epoch(trial, 3, accuracy, seconds=seconds)]
    for view in (status_view(fold(events)), found(fold(events))):
        text = text_of(view)
        assert (
            "Pareto front of 2 trials that no other one beats: maximize clustering_accuracy"
            in text.replace("\n", " ")
        )
        rows = {" ".join(line.split()) for line in text.splitlines()}
        assert rows >= {"0001 70.0 % 5.000", "0002 60.0 % 2.000"}
        assert "0003 50.0 % 3.000" not in rows
        assert "0003 ● clustering 3/6 50.0 % 50.0 % 3.000" in rows  # in the table of all
    assert "Pareto" not in text_of(status_view(finished()))


def test_derived_values_stand_beside_the_best_configuration() -> None:
    space = {"base": {"type": "float", "low": 0.001, "high": 0.1}}
    config = study_config(search_space=space, derived={"training.learning_rate": "base / 2"})
    record = fold([started(config), trial_started("0001", base=0.01), epoch("0001", 3, 0.7)])
    text = text_of(found(record))
    assert "training.learning_rate   0.005" in text


def test_summary_tells_what_each_trial_reached() -> None:
    text = text_of(found(finished()))
    assert "4 of 4 trials done" in text
    assert "1 complete, 2 stopped early, 1 failed" in text
    row = next(line for line in text.splitlines() if "0002" in line)
    assert " ".join(row.split()) == "0002 ◌ stopped early 2/6 31.0 % 31.0 % 0.01"
    assert "trial 0003 failed: loss is not finite in epoch 2" in text


def test_a_complete_study_shows_its_result_first_and_its_trials_from_the_best_one_down() -> None:
    record = finished()
    text = text_of(status_view(record))
    assert text == text_of(found(record))
    assert text.index("test jets, never used before") < text.index("outcome")
    rows = [line.split() for line in text.splitlines() if re.match(r"[* ]+000\d", line)]
    ids = [row[1] if row[0] == "*" else row[0] for row in rows]
    assert ids == ["0001", "0004", "0002", "0003"]  # 70, 50, 31 %; the failed one comes last
    assert [row[0] for row in rows].count("*") == 1
    assert "* the best; sorted by the best clustering accuracy" in text
    interval = (record.best_test or {}).get("clustering_accuracy_interval")
    assert interval == pytest.approx((0.711, 0.867), abs=1e-3)


@pytest.mark.parametrize(("score", "is_told"), [(0.75, True), (0.7, False)])
def test_a_better_trial_of_the_study_that_taught_is_told_at_the_end(
    score: float, is_told: bool
) -> None:
    known = KnownTrial(id="0009", hyperparameters={}, outcome="complete", score=score)
    taught = WarmStart(study="first", trials=[known], differing=["training.n_epochs"])
    first = started().model_copy(update={"warm_start": taught})
    text = " ".join(text_of(found(fold([first, *four_trials()[1:]]))).split())
    told = "Trial 0009 of study first, 75.0 %, is better than the best one here, 70.0 %"
    assert (told in text) == is_told
    assert ("train first/0009" in text) == is_told
    assert ("The studies differ in training.n_epochs" in text) == is_told


def test_a_failed_study_names_the_command_that_is_not_refused(tmp_path: Path) -> None:
    paths = StudiesFolder(tmp_path).study("jets")
    failed = [started(), *(event for n in range(1, 5) for event in (
        trial_started(f"000{n}"), trial_ended(f"000{n}", "failed", 0, "boom")
    ))]  # fmt: skip
    text = text_of(next_commands(fold([*failed, StudyEnded(state="failed")]), paths), 300)
    assert re.search("extend jets .*--trials 4", text)
    assert "resume" not in text
    text = text_of(next_commands(fold([*failed[:-2], StudyEnded(state="failed")]), paths), 300)
    assert "resume jets" in text


def test_status_tells_what_was_carried_on_and_what_that_cost() -> None:
    assert "esumed" not in text_of(status_view(fold(four_trials())))
    events: list[Any] = [
        *four_trials(),
        *(epoch("0004", number, 0.5) for number in (2, 3)),
        trial_ended("0004", "interrupted", 3),
        StudyEnded(state="interrupted"),
        StudyResumed(code_version="0.1.0", host="here"),
        TrialResumed(trial="0004", cause="the driver was killed"),
        TrialRestored(trial="0004", epoch=1),  # later checkpoints were damaged
    ]
    history = "Resumed once, 1 trial went on from a checkpoint"
    assert f"\n{history}, 2 epochs run again\n" in text_of(status_view(fold(events)))
    events += [
        TrialResumed(trial="0004", cause="worker 1 died", is_retry=True),
        TrialRestored(trial="0004", epoch=1),
        TrialResumed(trial="0004", cause="a node was lost", kind="node_lost"),
    ]
    lines = " ".join(text_of(status_view(fold(events))).split())
    assert f"{history}, workers lost once, nodes lost once, 4 epochs run again" in lines


def test_summary_without_a_finished_epoch_or_a_test_is_still_one() -> None:
    nothing = fold([started(), StudyEnded(state="failed", cause="no room\nTraceback")])
    text = text_of(found(nothing))
    assert "✗ failed: no room\n" in text
    assert "No trial yet." in text
    interrupted = fold([*four_trials(), StudyEnded(state="interrupted")])
    text = text_of(found(interrupted))
    assert "test jets, never used" not in text
    assert "Best so far: trial 0001" in text


def test_fixed_point_says_that_nothing_was_searched() -> None:
    record = fold([started(), trial_started("0001"), epoch("0001", 3, 0.7)])
    assert "nothing was searched" in text_of(found(record))


def test_commands_name_the_study_its_folder_and_the_best_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UCLUSTER_TUNE_STUDIES", raising=False)
    usual = StudiesFolder(tmp_path / "studies").study("jets")
    usual.root.mkdir(parents=True)
    usual.best_yaml.touch()
    text = text_of(next_commands(finished(), usual))
    assert "ucluster-tune status jets\n" in text
    assert "ucluster-tune ui jets\n" in text
    assert "ucluster-tune train studies/jets/best.yaml" in text
    elsewhere = StudiesFolder(tmp_path / "my studies").study("jets")
    text = text_of(next_commands(finished(), elsewhere))
    assert "ucluster-tune status jets --studies-dir 'my studies'" in text
    assert "train" not in text


@pytest.mark.parametrize("n_hyperparameters", [1, 3, 9])
@pytest.mark.parametrize("width", [80, 140])
def test_trials_stay_readable_with_many_hyperparameters(
    n_hyperparameters: int, width: int
) -> None:
    names = [f"training.hyper_parameter_{n}" for n in range(n_hyperparameters)]
    record = fold([started(), trial_started("0001", **dict.fromkeys(names, 0.000123456))])
    text = text_of(status_view(record), width)
    assert "…" not in text
    assert text.count("0.000123") == n_hyperparameters


@pytest.mark.parametrize("width", [80, 140, 240])
def test_trials_stay_readable_with_several_objectives(width: int) -> None:
    config = study_config(objective={"metric": "ari", "others": ["seconds", "silhouette"]})
    names = [f"training.hyper_parameter_{n}" for n in range(5)]
    begun = trial_started("0001", **dict.fromkeys(names, 0.000123456))
    record = fold([started(config), begun, epoch("0001", 3, 0.7, seconds=5.0)])
    table = text_of(status_view(record), width).rpartition("trial ")[2]
    assert "…" not in table
    assert table.count("0.000123") == 5
    assert table.count("5.000") == 1
    assert ("seconds 5.000" in table) == (width == 80)


def test_long_study_shows_its_best_and_its_last_trials() -> None:
    events: list[Any] = [started()]
    for number in range(1, 201):
        trial = f"{number:04d}"
        events += [trial_started(trial), epoch(trial, 3, 0.9 if number == 7 else 0.5)]
    text = text_of(status_view(fold(events)))
    assert " 0007 " in text
    assert " 0200 " in text
    assert f"and {200 - MAX_ROWS} more" in text


def test_objective_that_is_no_accuracy_has_its_own_column() -> None:
    config = study_config(objective={"metric": "nmi"})
    record = fold([started(config), trial_started("0001"), epoch("0001", 3, 0.7, nmi=0.4321)])
    text = text_of(status_view(record))
    assert "nmi" in text
    assert "0.432" in text


def test_names_and_causes_are_shown_as_they_are_not_as_markup() -> None:
    record = fold([*four_trials(), trial_ended("0004", "failed", 1, "[red]boom[/] [0, 1]")])
    assert "[red]boom[/] [0, 1]" in text_of(status_view(record))


def test_studies_are_listed_with_state_and_best() -> None:
    best = {"trial_id": "1", "clustering_accuracy": 0.7, "clustering_accuracy_batched": 0.72}
    good = {
        "name": "jets",
        "state": "running",
        "n_trials": 8,
        "n_finished": 3,
        "best": best,
        "started": "2026-11-24T22:30:13.369+00:00",
        "elapsed_s": 130.0,
    }
    bad = {"name": "old", "state": "unreadable", "cause": "line 3 is damaged"}
    text = text_of(studies_table([good, bad]))
    for told in ("● running", "3/8", "70.0 %", "72.0 %", "2 min 10 s", "? unreadable"):
        assert told in text
    assert "line 3 is damaged" in text


def test_status_says_what_was_fitted_to_the_nodes() -> None:
    resumed = StudyResumed(code_version="1", host="h", fitted={"resources.gpus_per_worker": 0.0})
    text = text_of(status_view(fold([*four_trials(), resumed])))
    assert "Fitted to its nodes: resources.gpus_per_worker 0.0" in text
    assert "Fitted" not in text_of(status_view(fold(four_trials())))
