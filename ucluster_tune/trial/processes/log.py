"""Where the output of a worker's process goes: to the log of the training that is in it."""

import logging
import os
import sys
import threading

from ucluster_tune.errors import UClusterTuneError
from ucluster_tune.trial.files import TrialFiles

_LOGGER = logging.getLogger(__name__)
_SEND_EVERY_S = 15.0


class ProcessLog:
    """All that this process writes, that of C++ included, and its log.

    What it writes when no training is in it goes where its output went when it was started.
    """

    def __init__(self) -> None:
        self._own = os.dup(1), os.dup(2)
        self._sender: LogSender | None = None

    def lead_to(self, files: TrialFiles) -> None:
        """Have all that follows written to the end of a training's log."""
        files.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(files.workers_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        _write_to(descriptor, descriptor)
        os.close(descriptor)
        logging.basicConfig(
            level=logging.INFO,
            format="%(asctime)s %(process)d %(levelname)s %(message)s",
            stream=sys.stderr,
            force=True,
        )
        self._sender = LogSender(files)

    def send_regularly(self) -> None:
        """Have the training's log sent to its bucket, where it has one: one process a machine."""
        if self._sender is not None:
            self._sender.start()

    def wake(self) -> None:
        """Have what is new sent now, where it is sent regularly; does not wait for it."""
        if self._sender is not None:
            self._sender.wake()

    def send(self) -> None:
        """Send what is new, and return once it is there."""
        if self._sender is not None:
            self._sender.send()

    def leave(self) -> None:
        """Let go of the training's log."""
        sender, self._sender = self._sender, None
        _write_to(*self._own)
        if sender is not None:
            sender.stop()


def _write_to(out: int, err: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


class LogSender:
    """Puts the log of this machine's workers into the trial's bucket, now and then, in a thread.

    Without a bucket it does nothing.

    Args:
        files: of the trial.
    """

    def __init__(self, files: TrialFiles) -> None:
        self._files = files
        self._wakes = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._sent_bytes = 0

    def start(self) -> None:
        """Begin to send what is new, every few seconds."""
        if self._files.remote is not None:
            self._thread = threading.Thread(target=self._work, name="send-log", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Have what is new sent now; does not wait for it."""
        self._wakes.set()

    def stop(self) -> None:
        """Send what is new for the last time."""
        self._is_over = True
        self._wakes.set()
        if self._thread is not None:
            self._thread.join()
            self.send()

    def send(self) -> None:
        """Send what is new; a log that cannot be sent is no reason to fail."""
        if self._files.remote is None:
            return
        n_bytes = self._files.workers_log.stat().st_size
        if n_bytes == self._sent_bytes:
            return
        try:
            self._files.send_log()
            self._sent_bytes = n_bytes
        except (UClusterTuneError, OSError) as error:
            _LOGGER.warning("this log is not in the bucket yet: %s", error)

    def _work(self) -> None:
        while not self._is_over:
            self._wakes.wait(_SEND_EVERY_S)
            self._wakes.clear()
            self.send()
