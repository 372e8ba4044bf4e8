import io
from typing import Any

import pytest
from rich.console import Console

from tests.study_events import (
    epoch,
    four_trials,
    started,
    study_config,
    trial_ended,
    trial_placed,
    trial_started,
)
from tests.terminal import Terminal
from ucluster_tune.report.live import LiveTable
from ucluster_tune.study.events import StudyEnded
from ucluster_tune.study.record import StudyRecord


def show(events: list[Any], *, is_terminal: bool, height: int = 24) -> str:
    """Returns what was written for the events, by the time of the last one."""
    config = study_config()
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=80, height=height)
    record = StudyRecord(events[0])
    live = LiveTable(console)
    live.on_study_start(config, record)
    for event in events[1:]:
        record.apply(event)
        live.on_event(event, record)
    if is_terminal:
        view = Console(width=80, height=height, record=True, file=io.StringIO())
        view.print(live._view(record))
        live.close()
        return view.export_text()
    live.on_study_end(record)
    return out.getvalue()


def many_trials(n_trials: int, n_running: int) -> list[Any]:
    config = study_config(budget={"n_trials": n_trials})
    events: list[Any] = [started(config)]
    for number in range(1, n_trials + 1):
        trial = f"{number:04d}"
        events += [trial_started(trial), epoch(trial, 3, 0.9 if number == 7 else 0.5)]
        if number <= n_trials - n_running:
            events.append(trial_ended(trial, "stopped_early", 3))
    return events


def test_terminal_shows_a_row_for_each_trial() -> None:
    config = study_config(resources={"workers_per_trial": 2})
    text = show([started(config), *four_trials()[1:]], is_terminal=True)
    assert "jets  ● running  3 of 4 trials done, 1 running, each on 2 workers" in text
    assert "Best so far: trial 0001, epoch 6: accuracy 70.0 %" in text
    assert "11.0 points below the reference, 81.0 %" in text
    for told in ("0001", "✓ complete", "◌ stopped early", "✗ failed", "● pretraining", "6/6"):
        assert told in text
    assert "trial 0003 failed: loss is not finite in epoch 2" in text


def test_row_shows_losses_and_accuracies_of_the_last_epoch_and_the_best() -> None:
    events = [started(), trial_started("0001"), epoch("0001", 3, 0.7), epoch("0001", 4, 0.6)]
    row = next(line for line in show(events, is_terminal=True).splitlines() if "4/6" in line)
    expected = ["*", "0001", "●", "clustering", "4/6", "1.000", "0.125"]
    assert row.split() == [*expected, "60.0", "%", "60.0", "%", "70.0", "%"]


def test_many_trials_fit_the_terminal_and_show_what_matters() -> None:
    text = show(many_trials(200, n_running=4), is_terminal=True)
    lines = text.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    rows = {line.strip("* ").split()[0] for line in lines if line.strip("* ").startswith("0")}
    assert {"0007", "0196", "0197", "0198", "0199", "0200"} < rows
    assert "and 191 trials more" in text


def test_more_running_trials_than_rows_still_fit() -> None:
    text = show(many_trials(60, n_running=50), is_terminal=True)
    assert len(text.splitlines()) < 24
    assert " 0060 " in text
    assert " 0007  " in text


def test_trial_without_an_epoch_is_starting() -> None:
    text = show([started(), trial_started("0001"), trial_placed("0001")], is_terminal=True)
    assert "● starting" in text
    assert "1 running, each on 1 worker" in text
    assert "pending" not in text
    assert "No epoch finished yet; reference 81.0 %" in text


def test_trial_that_waits_for_its_place_is_pending_and_not_running() -> None:
    placed = [trial_started("0001"), trial_placed("0001"), epoch("0001", 1, 0.5)]
    text = show([started(), *placed, trial_started("0002")], is_terminal=True)
    assert "1 running, each on 1 worker, 1 pending" in text
    assert "0002  ○ pending" in text


def test_log_tells_of_a_place_that_was_long_in_coming() -> None:
    events = [started(), trial_started("0001"), trial_started("0002"), trial_placed("0001", 3.0)]
    text = show([*events, trial_placed("0002", 130.0)], is_terminal=False)
    assert "trial 0002 has its place after 2 min 10 s" in text
    assert "trial 0001 has" not in text
    assert show(events, is_terminal=False).rstrip().endswith("1 running, 1 pending")


def test_baseline_is_shown_once_known() -> None:
    baselines = {"kmeans_mass": {"clustering_accuracy": 0.6}}
    first = started().model_copy(update={"baselines": baselines})
    assert "k-means on the jet mass 60.0 %" in show([first], is_terminal=True)


def test_other_objective_is_the_one_whose_best_is_shown() -> None:
    config = study_config(objective={"metric": "total_loss", "direction": "minimize"})
    events = [started(config), trial_started("0001"), epoch("0001", 3, 0.7)]
    text = show(events, is_terminal=True)
    assert "total loss 1.667" in text


def test_log_gets_one_line_for_each_event() -> None:
    events = [*four_trials(), StudyEnded(state="interrupted")]
    lines = show(events, is_terminal=False).splitlines()
    assert len(lines) == 1 + len(four_trials())  # start, events without the first, end
    text = "\n".join(line.partition(" ")[2] for line in lines)
    assert "trial 0001 started: training.learning_rate=0.001" in text
    assert "trial 0001 epoch 6/6 clustering: focal loss 0.667, clustering loss 0.083" in text
    assert "trial 0002 stopped early after epoch 2: best clustering_accuracy 31.0 %" in text
    assert "trial 0003 failed: loss is not finite in epoch 2" in text
    assert lines[-1].endswith("1 running, 1 complete, 1 stopped early, 1 failed")
    assert "\x1b" not in text


def test_screen_is_given_back_at_the_end() -> None:
    out = io.StringIO()
    record = StudyRecord(started())
    live = LiveTable(Console(file=out, force_terminal=True, width=80, height=24))
    live.on_study_start(study_config(), record)
    assert "\x1b[?25l" in out.getvalue()
    live.on_study_end(record)
    live.close()
    assert out.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (60, 6)])
def test_nothing_of_the_table_stays_after_ctrl_c(width, height, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(width, height)
    live = LiveTable(Console(file=terminal, force_terminal=True, width=width, height=height))
    live.say("Reading the jets")
    record = StudyRecord(started())
    live.on_study_start(study_config(), record)
    full_line = trial_ended("0001", "failed", 1, 2 * width * "x")
    for event in (trial_started("0001"), epoch("0001", 1, 0.9), full_line, trial_started("0002")):
        record.apply(event)
        live.on_event(event, record)
    assert live._live is not None
    live._live.refresh()
    terminal.echo_ctrl_c()
    live.say("Stopping after the running epochs")
    live.on_event(trial_ended("0002", "interrupted", 0), record)
    terminal.echo_ctrl_c()
    live.on_study_end(record)
    live.console.print("What was found")
    said = ["Reading the jets", "Stopping after the running epochs", "What was found"]
    assert terminal.lines() == said


@pytest.mark.parametrize("width", [50, 100])
def test_nothing_of_the_table_stays_where_the_terminal_is_resized(width, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(80, 24)
    console = Console(file=terminal, force_terminal=True, width=80, height=24)
    live = LiveTable(console)
    record = StudyRecord(started())
    live.on_study_start(study_config(), record)
    for event in four_trials()[1:]:
        record.apply(event)
        live.on_event(event, record)
    assert live._live is not None
    live._live.refresh()
    terminal.resize(width, 24)
    console.width = width
    live._live.refresh()
    assert sum(line.startswith("jets  ") for line in terminal.lines()) == 1
    live.on_study_end(record)
    live.console.print("What was found")
    assert terminal.lines() == ["What was found"]


@pytest.mark.parametrize(("width", "n_shown"), [(80, 1), (88, 2), (160, 3)])
def test_hyperparameters_are_shown_where_there_is_room(width: int, n_shown: int) -> None:
    names = ("training.learning_rate", "loss.clustering_weight", "model.n_neighbors")
    values = (0.00123, 45.6, 17)
    config = study_config()
    record = StudyRecord(started(config))
    record.apply(trial_started("0001", **dict(zip(names, values, strict=True))))
    out = io.StringIO()
    console = Console(width=width, height=24, file=out)
    live = LiveTable(console)
    live.on_study_start(config, record)
    console.print(live._view(record))
    lines = out.getvalue().splitlines()
    row = next(line for line in lines if line.strip().startswith("0001"))
    assert [str(value) in row for value in values] == [n < n_shown for n in range(3)]
    assert len(row) <= width
