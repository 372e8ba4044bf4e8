"""Logs of a study in a bucket, seen from another machine; a folder stands for the bucket."""

import json
import os
import time

import pytest

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.locations import locate
from ucluster_tune.study.logs import log_text
from ucluster_tune.study.paths import StudyPaths


class Bucket:
    """A study's folder in a bucket, and a machine from which it is looked at."""

    def __init__(self, folder):
        self.folder = folder / "bucket" / "jets"
        self.trial = self.folder / "trials" / "0001"
        self.trial.mkdir(parents=True)
        self.paths = StudyPaths(folder / "copies" / "jets", locate(self.folder))
        self.n_written = 0

    def write(self, name, text):
        """Has the text at the end of a log, later than all that was written before."""
        file = self.trial / name if name.startswith("workers") else self.folder / name
        with file.open("a") as log:
            log.write(text)
        self.n_written += 1
        os.utime(file, (self.n_written, self.n_written))

    def shown(self, trial=None, n_lines=50, **options):
        return "".join(log_text(self.paths, trial, n_lines, **options))


@pytest.fixture
def bucket(tmp_path):
    return Bucket(tmp_path)


def test_log_of_a_driver_elsewhere_is_read_from_the_bucket(bucket):
    bucket.write("log.txt", "one\ntwo\nthr")
    assert bucket.shown(n_lines=2) == "two\nthr"
    assert bucket.shown(n_lines=0) == ""


def test_each_machine_of_a_trial_is_named_and_the_last_one_comes_last(bucket):
    bucket.write("workers-node-2-0a1b2c3d.log", "rank 1\nbye\n")
    assert bucket.shown("0001") == "rank 1\nbye\n"
    bucket.write("workers-node-1-ffffffff.log", "rank 0\nepoch 1\n")
    bucket.write("config.yaml", "x: 1\n")
    assert bucket.shown("0001", 1) == "==> node-2 <==\nbye\n\n==> node-1 <==\nepoch 1\n"


def test_what_is_missing_is_told(bucket):
    with pytest.raises(StudyError, match=r"bucket/jets: nothing was written there yet"):
        bucket.shown()
    with pytest.raises(StudyError, match=r"trials/0001: nothing was written there yet"):
        bucket.shown("0001")
    with pytest.raises(StudyError, match=r"has no trial '0002'; there are 0001"):
        bucket.shown("0002")


def test_following_shows_what_comes_until_nobody_drives_the_study(bucket, monkeypatch):
    claim = bucket.folder / "driver.json"
    claim.write_text(json.dumps({"host": "far", "session": "1"}))
    first, second = "workers-a-00000000.log", "workers-b-00000000.log"
    meanwhile = [
        lambda: bucket.write(first, "epoch 1\nepoch "),
        lambda: bucket.write(first, "2\n"),
        lambda: bucket.write(second, "rank 1\n"),
        lambda: (bucket.write(first, "the end"), claim.unlink()),
    ]
    monkeypatch.setattr(time, "sleep", lambda _s: meanwhile.pop(0)())
    told = list(log_text(bucket.paths, "0001", 50, follow=True))
    assert told == [
        *("epoch 1\n", "epoch 2\n"),
        *("\n==> b <==\n", "rank 1\n"),
        *("\n==> a <==\n", "the end"),
    ]


def test_last_words_of_a_driver_that_was_killed_here_are_shown(bucket):
    bucket.write("log.txt", "one\n")
    bucket.paths.root.mkdir(parents=True)
    bucket.paths.log.write_text("one\ntwo\n")
    assert bucket.shown() == "one\ntwo\n"
    bucket.write("log.txt", "went on elsewhere\n")
    assert bucket.shown() == "one\nwent on elsewhere\n"
