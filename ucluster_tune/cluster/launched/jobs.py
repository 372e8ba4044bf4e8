"""A search as a Ray Job: it lives on the cluster's head and does not need whoever sent it.

Knows nothing of studies: a job is a command, some files, and this program's code.
"""

import asyncio
import logging
import os
import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ucluster_tune
from ucluster_tune.cluster.launched.head import Head, Tunnel, in_brief
from ucluster_tune.cluster.launched.launcher import show_token
from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.ray_internals import (
    BEFORE_OUTPUT_OF_JOB,
    LAST_BEFORE_OUTPUT_OF_JOB,
    TALKATIVE_LOGGERS,
)

_PACKAGE = Path(ucluster_tune.__file__).parent
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Limits:
    """How long a head is waited for.

    Attributes:
        start_s: until its Jobs interface answers for the first time.
        answer_s: for one answer.
        silence_s: while a job is followed and each way to the head breaks or leads to no answer.
        retry_s: pause before another try.
    """

    start_s: float = 120.0
    answer_s: float = 60.0
    silence_s: float = 600.0
    retry_s: float = 3.0


class ClusterJobs:
    """The Jobs interface of a cluster's head, through a tunnel.

    Args:
        head: of the cluster.
        tunnel: open, to the head's Jobs interface.
        limits: of all waits.

    Raises:
        MachineError: it does not answer, or refuses this machine's token.
    """

    def __init__(self, head: Head, tunnel: Tunnel, limits: Limits = Limits()) -> None:
        self._head, self._tunnel, self._limits = head, tunnel, limits
        self._client = self._connect()

    def submit(self, words: Sequence[str], files: Mapping[str, str], name: str) -> str:
        """Start a job on the head; return its id.

        The code of this very program goes along, so that all nodes run this version of it.

        Args:
            words: the command; its working directory holds `files`.
            files: name: text.
            name: part of the id, to be recognised by.

        Raises:
            MachineError: the head refused it, or did not answer.
        """
        job_id = f"{name}-{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory(prefix="ucluster-tune-job-") as folder:
            for file, text in files.items():
                (Path(folder) / file).write_text(text, encoding="utf-8")
            if not files:  # Ray takes no empty folder
                (Path(folder) / "README").write_text(shlex.join(words), encoding="utf-8")
            try:
                self._client.submit_job(
                    entrypoint=shlex.join(words),
                    submission_id=job_id,
                    runtime_env={
                        "working_dir": folder,
                        "py_modules": [str(_PACKAGE)],
                        "excludes": ["__pycache__"],
                    },
                    metadata={"study": name, "sent_by": ucluster_tune.__version__},
                )
            except TimeoutError as error:
                raise MachineError(
                    f"it is not known whether {self._head_in_words()} took the search"
                    f" ({in_brief(error)}): {self._look_at(job_id)} before you send it again"
                ) from error
            except (RuntimeError, OSError, ValueError) as error:
                raise MachineError(
                    f"{self._head_in_words()} did not take the search: {in_brief(error)}"
                ) from error
        return job_id

    def follow(self, job_id: str, show: Callable[[str], None]) -> int:
        """Show what a job prints until it ends; return its exit code.

        A connection that breaks is made again; nothing is shown twice.

        Raises:
            MachineError: the head gave no answer for too long; the job may go on all the same.
        """
        from aiohttp import ClientError  # loaded by Ray's client already

        limits = self._limits
        n_shown = 0
        heard_at = time.monotonic()
        output = JobOutput(show)

        async def read_log() -> None:
            nonlocal n_shown, heard_at
            n_read = 0  # each connection begins with the first line
            async for text in self._client.tail_job_logs(job_id):
                heard_at = time.monotonic()
                new = text[max(0, n_shown - n_read) :]
                n_read += len(text)
                n_shown = max(n_shown, n_read)
                if new:
                    output.add(new)

        while True:
            try:
                self._tunnel.open()
                asyncio.run(read_log())
                info = self._client.get_job_info(job_id)
                heard_at = time.monotonic()
                if info.status in _ENDED:
                    output.end()
                    return _exit_code(info)
            except (MachineError, RuntimeError, OSError, ClientError) as error:
                if time.monotonic() - heard_at > limits.silence_s:
                    raise MachineError(
                        f"{self._head_in_words()} gave no answer for {limits.silence_s:g} s"
                        f" ({in_brief(error)}); the search goes on there as long as its head does:"
                        f" {self._look_at(job_id)}"
                    ) from error
            time.sleep(limits.retry_s)

    def _connect(self) -> Any:
        show_token()
        from ray.exceptions import AuthenticationError, RayError  # after that

        from ucluster_tune.cluster.launched.jobs_client import JobsClient  # loads Ray

        for module in TALKATIVE_LOGGERS:
            logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)

        address = f"http://127.0.0.1:{self._tunnel.port}"
        elsewhere = {
            name: os.environ.pop(name)
            for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
            if name in os.environ
        }  # either would win over the address
        deadline = time.monotonic() + self._limits.start_s
        try:
            while True:
                try:
                    return JobsClient(address, self._limits.answer_s)
                except AuthenticationError as error:
                    raise MachineError(self._refusal()) from error
                except (RuntimeError, OSError, RayError) as error:
                    if time.monotonic() > deadline:
                        raise MachineError(self._why_no_answer(error)) from error
                    time.sleep(self._limits.retry_s)
                    with suppress(MachineError):
                        self._tunnel.open()
        finally:
            os.environ.update(elsewhere)

    def _head_in_words(self) -> str:
        return f"the head of cluster {self._head.cluster} ({self._head.host})"

    def _look_at(self, job_id: str) -> str:
        return f"look with `ray exec {self._head.file} 'ray job status {job_id}'`"

    def _refusal(self) -> str:
        head = self._head
        return (
            f"cluster {head.cluster} refuses this machine: ~/.ray/auth_token is missing or is not"
            f" the token that the cluster was started with; `ray up {head.file}` brings it there"
        )

    def _why_no_answer(self, error: Exception) -> str:
        head = self._head
        return (
            f"the Jobs interface of cluster {head.cluster} (port {head.dashboard_port} of"
            f" {head.host}) does not answer: {in_brief(error)}; look at `ray exec {head.file}"
            " 'ray status'`"
        )


class JobOutput:
    """What a job prints, without the lines that Ray's own manager puts before it.

    Args:
        show: called with each piece.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._held: str | None = ""  # the begin, while it may be Ray's; None later

    def add(self, text: str) -> None:
        """Show what of the text is the job's, once that is clear."""
        if self._held is None:
            self._show(text)
            return
        self._held += text
        while self._held is not None and "\n" in self._held:
            line, _, rest = self._held.partition("\n")
            is_last = line.startswith(LAST_BEFORE_OUTPUT_OF_JOB)
            if is_last or not BEFORE_OUTPUT_OF_JOB.match(line):
                self._held = rest if is_last else self._held
                self.end()
            else:
                self._held = rest

    def end(self) -> None:
        """Show what was held back."""
        held, self._held = self._held, None
        if held:
            self._show(held)


def _exit_code(info: Any) -> int:
    if info.status == "SUCCEEDED":
        return 0
    code = getattr(info, "driver_exit_code", None)
    return int(code) if code else 1
