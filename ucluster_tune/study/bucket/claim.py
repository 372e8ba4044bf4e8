"""Who drives a study that lies in a bucket, told by a file that is written again and again.

A bucket has no locks. The driver writes `driver.json` with its host, process, session and term,
and writes it again every few seconds: its heartbeat. How old that is, is told by the storage's own
clock, against a file written just now, so no clock of a machine matters. A driver whose heart has
stopped is taken for dead. Should it live and come back, it finds the other one's name and ends.
"""

import json
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from ucluster_tune.errors import MissingError, StudyError
from ucluster_tune.study.bucket.copy import record_in_bucket
from ucluster_tune.study.paths import StudyPaths, bucket_errors

BEAT_EVERY_S: Final = 10.0
DEAD_AFTER_S: Final = 60.0
_SETTLE_S: Final = 1.0  # two that begin at the same instant see each other after it
_LEASE_S: Final = 40.0  # without a beat for so long, others may soon take the study


class TakenOverError(StudyError):
    """Another process drives the study by now."""


class BucketClaim:
    """This process's claim to drive a study.

    Args:
        paths: of the study, which lies in a bucket.
        who: what `driver.json` on a disk would tell of this process.
        copy_id: of the working copy, whose lock this process holds.

    Attributes:
        session: of this driver, 8 hexadecimal digits.
        term: higher than that of any driver before.
    """

    def __init__(self, paths: StudyPaths, who: Mapping[str, Any], copy_id: str) -> None:
        assert paths.remote is not None
        self._paths, self._who, self._copy_id = paths, who, copy_id
        self._file = paths.in_bucket(paths.driver)
        self.session, self.term = uuid.uuid4().hex[:8], 0
        self._beaten_at = 0.0
        self._lock = threading.Lock()  # a beat at a time

    def take(self) -> None:
        """Become the study's driver.

        Raises:
            StudyError: another one drives it, or the bucket cannot be read or written.
        """
        with bucket_errors():
            told = read_claim(self._paths)
            if told is not None and told.get("copy_id") != self._copy_id and self._lives(told):
                raise StudyError(refusal(self._paths, told))
            terms = [segment.term for segment in record_in_bucket(self._paths)]
            self.term = 1 + max([*terms, int(told.get("term", 0)) if told else 0])
            self._write()
            time.sleep(_SETTLE_S)
            self._refuse_other()

    def beat(self) -> None:
        """Tell that this driver lives.

        Raises:
            TakenOverError: another process drives the study by now.
            StudyError: the bucket cannot be read or written at the moment.
        """
        with self._lock, bucket_errors():
            has_lapsed = time.monotonic() - self._beaten_at > _LEASE_S
            self._refuse_other()
            self._write()
            if has_lapsed:  # another one may have read it just before that
                time.sleep(_SETTLE_S)
                self._refuse_other()
                if any(segment.term > self.term for segment in record_in_bucket(self._paths)):
                    raise TakenOverError(
                        f"study {self._paths.name} was carried on elsewhere while its storage was"
                        f" out of reach from here: {_kept(self._paths)}"
                    )

    def ensure(self) -> None:
        """Make sure that the study is still this driver's, before something is written for it.

        Raises:
            TakenOverError, StudyError: as of `beat`.
        """
        if time.monotonic() - self._beaten_at > _LEASE_S:
            self.beat()

    def release(self) -> None:
        """Tell that nobody drives the study any more."""
        with self._lock, bucket_errors():
            told = read_claim(self._paths)
            if told is not None and told.get("session") == self.session:
                self._file.delete()

    def _write(self) -> None:
        begun = time.monotonic()
        told = {
            **self._who,
            "session": self.session,
            "term": self.term,
            "copy_id": self._copy_id,
        }
        self._file.write_bytes(json.dumps(told).encode())
        self._beaten_at = begun

    def _refuse_other(self) -> None:
        """Raise TakenOverError where the file names another driver."""
        told = read_claim(self._paths)
        if told is not None and told.get("session") != self.session:
            raise TakenOverError(
                f"study {self._paths.name} is being run by {_who(told)} by now: this process ends."
                f" {_kept(self._paths)}"
            )

    def _lives(self, told: Mapping[str, Any]) -> bool:
        """Return whether another driver's heart has beaten of late, by the storage's clock."""
        probe = self._paths.in_bucket(self._paths.root / f"now-{self.session}")
        try:
            probe.write_bytes(b"")
            now = probe.modified_s()
        finally:
            probe.delete()
        try:
            return now - self._file.modified_s() < DEAD_AFTER_S
        except MissingError:
            return False


def read_claim(paths: StudyPaths) -> dict[str, Any] | None:
    """Return what the driver of a study told of itself, None where there is none.

    Raises:
        DataError: the bucket cannot be read.
    """
    try:
        told = json.loads(paths.in_bucket(paths.driver).read_bytes())
    except MissingError:
        return None
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def is_driven_elsewhere(paths: StudyPaths) -> bool:
    """Return whether a driver lives that is not known in this machine's working copy to live.

    By the clock of this machine: whoever only looks need not be permitted to write.

    Raises:
        StudyError: the bucket cannot be read.
    """
    with bucket_errors():
        told = read_claim(paths)
        if told is None or _was_here(paths, told):
            return False
        try:
            return time.time() - paths.in_bucket(paths.driver).modified_s() < DEAD_AFTER_S
        except MissingError:
            return False


def _was_here(paths: StudyPaths, told: Mapping[str, Any]) -> bool:
    """Return whether a driver worked in this working copy, on this machine."""
    try:
        own = paths.copy_id.read_text(encoding="utf-8")
    except OSError:
        return False
    return told.get("copy_id") == own and told.get("host") == socket.gethostname()


def refusal(paths: StudyPaths, told: Mapping[str, Any]) -> str:
    """Return what a second driver is told."""
    name = paths.name
    return (
        f"study {name} is being run by {_who(told)}: watch it with `ucluster-tune status {name}`,"
        f" or end it in order with `ucluster-tune stop {name}`. If that machine is gone, try"
        f" again: a driver is taken for dead {DEAD_AFTER_S:g} s after its last sign of life"
    )


def _who(told: Mapping[str, Any]) -> str:
    if "host" not in told:
        return "another process"
    return f"process {told.get('pid')} on {told['host']} since {told.get('since')}"


def _kept(paths: StudyPaths) -> str:
    return f"What only this machine has of it is kept in {paths.root}"
