import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.study_events import epoch, four_trials, started, trial_ended, trial_started
from ucluster_tune.errors import StudyError
from ucluster_tune.study.events import TrainingStarted
from ucluster_tune.study.journal import StudyJournal, read_events, read_record
from ucluster_tune.study.trainings import TrainingPlan


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    path = tmp_path / "record.jsonl"
    with StudyJournal(path) as journal:
        for event in four_trials():
            journal.append(event)
    return path


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    events = four_trials()
    with StudyJournal(tmp_path / "record.jsonl") as journal:
        for event in events:
            journal.append(event)
    assert list(read_events(tmp_path / "record.jsonl")) == events


def test_kinds_of_hyperparameters_survive(tmp_path: Path) -> None:
    values = {"a": 1, "b": 1.0, "c": True, "d": "1"}
    with StudyJournal(tmp_path / "record.jsonl") as journal:
        journal.append(started())
        journal.append(trial_started("0001", **values))
    kept = read_record(tmp_path / "record.jsonl").trials["0001"].hyperparameters
    assert {name: (type(value), value) for name, value in kept.items()} == {
        name: (type(value), value) for name, value in values.items()
    }


def test_lines_are_plain_json_also_with_values_that_are_no_numbers(tmp_path: Path) -> None:
    with StudyJournal(tmp_path / "record.jsonl") as journal:
        journal.append(started())
        journal.append(trial_started("0001"))
        journal.append(epoch("0001", 1, float("nan"), focal_loss=float("inf")))
    last = (tmp_path / "record.jsonl").read_text().splitlines()[-1]
    record = json.loads(last, parse_constant=pytest.fail)["record"]
    assert record["clustering_accuracy"] is None
    assert record["focal_loss"] is None


def test_journal_cut_anywhere_reads_as_its_whole_lines_and_goes_on(journal_path: Path) -> None:
    whole = journal_path.read_bytes()
    events = list(read_events(journal_path))
    for length in range(len(whole) - 1, len(whole) - 900, -37):
        journal_path.write_bytes(whole[:length])
        n_whole = whole[:length].count(b"\n")
        assert list(read_events(journal_path)) == events[:n_whole]
        with StudyJournal(journal_path) as journal:
            journal.append(events[-1])
        assert list(read_events(journal_path)) == [*events[:n_whole], events[-1]]


def test_rest_longer_than_a_block_is_removed(journal_path: Path) -> None:
    whole = journal_path.read_bytes()
    journal_path.write_bytes(whole + b"x" * 200_000)
    StudyJournal(journal_path).close()
    assert journal_path.read_bytes() == whole


def test_broken_line_in_the_middle_is_named(journal_path: Path) -> None:
    lines = journal_path.read_bytes().splitlines(keepends=True)
    for broken in (b"{]\n", b"{}\n", b'{"event": "dance"}\n', b'{"event": "epoch"}\n', b"\0\n"):
        journal_path.write_bytes(b"".join([*lines[:4], broken, *lines[5:]]))
        with pytest.raises(StudyError, match="line 5 is damaged"):
            read_record(journal_path)


def test_journal_of_a_newer_format_is_refused(journal_path: Path) -> None:
    first, rest = journal_path.read_text().split("\n", 1)
    fields = json.loads(first) | {"format_version": 3, "code_version": "9.1", "shape": "round"}
    journal_path.write_text(json.dumps(fields) + "\n" + rest)
    with pytest.raises(StudyError, match=r"format 3.*ucluster-tune 9\.1"):
        read_record(journal_path)


def test_journal_of_format_1_is_read_also_where_a_driver_of_this_one_went_on(
    journal_path: Path,
) -> None:
    """Format 1 had no trainings, and ids of MLflow's runs in the first lines."""
    first, *rest = map(json.loads, journal_path.read_text().splitlines())
    older = [first | {"format_version": 1, "run_id": "parent"}]
    for values in rest:
        values.pop("training", None)
        values.pop("sampler_attributes", None)
        if values["event"] == "trial_started":
            values["run_id"] = f"run-{values['trial']}"
        older.append(values)
    journal_path.write_text("".join(f"{json.dumps(values)}\n" for values in older))
    plan = TrainingPlan(id="seed-2", role="final", seed=2, world_size=1)
    with StudyJournal(journal_path) as journal:
        journal.append(TrainingStarted(trial="0001", training=plan))
    record = read_record(journal_path)
    assert record.run_id == "parent"
    assert [t.run_id for t in record.trials.values()] == [f"run-000{n}" for n in (1, 2, 3, 4)]
    assert list(record.trials["0001"].trainings) == ["first", "seed-2"]
    assert [t.outcome for t in record.trials.values()] == [
        *("complete", "stopped_early", "failed", "running")
    ]
    journal_path.write_text(journal_path.read_text() + '{"event": "dance"}\n')
    with pytest.raises(StudyError, match="is damaged"):
        read_record(journal_path)


def test_empty_missing_and_headless_journals_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    with pytest.raises(StudyError, match="No such file"):
        read_record(path)
    path.write_bytes(b'{"event": "study_star')
    with pytest.raises(StudyError, match="no event in it"):
        read_record(path)
    path.write_text(trial_started("0001").line() + "\n")
    with pytest.raises(StudyError, match="line 1"):
        read_record(path)


def test_each_event_is_flushed_to_the_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.jsonl"
    flushed: list[int] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        really(descriptor)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            flushed.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    with StudyJournal(path) as journal:
        for event in four_trials():
            journal.append(event)
            assert flushed, "not flushed"
            assert flushed.pop() == path.stat().st_size, "flushed before it was written"


def test_each_event_is_readable_as_soon_as_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    with StudyJournal(path) as journal:
        for number, event in enumerate(four_trials(), start=1):
            journal.append(event)
            assert len(list(read_events(path))) == number


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond the limit, part-way through a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failed_write_leaves_no_part_of_a_line_and_can_be_tried_again(journal_path: Path) -> None:
    before = journal_path.read_bytes()
    event = trial_ended("0004", "interrupted", 1)
    with StudyJournal(journal_path) as journal:
        with file_size_limit(len(before) + 10), pytest.raises(StudyError, match="cannot be writt"):
            journal.append(event)
        assert journal_path.read_bytes() == before
        journal.append(event)
    assert list(read_events(journal_path))[-1] == event


def test_full_disk_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "record.jsonl").symlink_to("/dev/full")
    with (
        StudyJournal(tmp_path / "record.jsonl") as journal,
        pytest.raises(
            StudyError, match="No space left on device; free some space, all up to here is kept"
        ),
    ):
        journal.append(started())


def test_folder_that_cannot_be_written_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be written"):
        StudyJournal(tmp_path / "missing" / "record.jsonl")
