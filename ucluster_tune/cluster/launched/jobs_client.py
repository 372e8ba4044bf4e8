"""Ray's client of the Jobs interface, with a limit on each wait for an answer.

Ray's own waits for ever where a head hangs and the ssh that leads to it lives on. Loads Ray.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import requests
from ray.job_submission import JobSubmissionClient


class JobsClient(JobSubmissionClient):
    """A client whose methods raise TimeoutError where an answer does not come.

    Args:
        address: http://HOST:PORT of the interface.
        answer_timeout_s: longest wait for an answer.
    """

    def __init__(self, address: str, answer_timeout_s: float) -> None:
        self._answer_timeout_s = answer_timeout_s
        super().__init__(address)

    def _do_request(self, *words: Any, **options: Any) -> Any:
        try:
            return super()._do_request(*words, timeout=self._answer_timeout_s, **options)
        except requests.Timeout as error:
            raise self._no_answer() from error

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yield what a job prints; "" each time that the head answers amid the job's silence.

        A job may say nothing for hours, so that its silence alone means nothing.
        """
        told: Any = super().tail_job_logs(job_id)
        async with aclosing(told) as pieces:
            while True:
                coming = asyncio.ensure_future(_next(pieces))
                try:
                    while not (await asyncio.wait([coming], timeout=self._answer_timeout_s))[0]:
                        await self._ask_after(job_id)
                        yield ""
                    piece = coming.result()
                finally:
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
                if piece is None:
                    return
                yield piece

    async def _ask_after(self, job_id: str) -> None:
        """Return once the head answers; here, not in a thread, so that Ctrl-C ends the wait."""
        limit = aiohttp.ClientTimeout(total=self._answer_timeout_s)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=limit) as session,
                session.get(f"{self._address}/api/jobs/{job_id}"),
            ):
                return
        except TimeoutError as error:
            raise self._no_answer() from error

    def _no_answer(self) -> TimeoutError:
        return TimeoutError(f"no answer within {self._answer_timeout_s:g} s")


async def _next(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)
