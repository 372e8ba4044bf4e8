"""A head's Jobs interface on loopback, which answers, breaks off or hangs as told."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web


class JobsServer:
    """Serves one job, which prints two lines and fails with code 130.

    Attributes:
        port: of the loopback interface.
        breaks: so many times the log breaks off after its first line.
        pause_s: between the two lines.
        hangs: requests whose path holds one of these words are taken and never answered.
        refuses_with: HTTP status of all answers; 0 where none is refused.
        hangs_after_first_line: from then on none is answered, and the log stands still.
        asked: paths of all requests.
    """

    def __init__(self) -> None:
        self.port = 0
        self.breaks = 0
        self.pause_s = 0.0
        self.hangs: tuple[str, ...] = ()
        self.refuses_with = 0
        self.hangs_after_first_line = False
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers as Ray's head does."""
        self.asked.append(request.path)
        if any(word in request.path for word in self.hangs):
            await asyncio.Event().wait()
        if self.refuses_with:
            return web.Response(status=self.refuses_with, text="no")
        if request.path == "/api/version":
            return self._json({"ray_version": "2.60.0"})
        if request.path.endswith("/logs/tail"):
            return await self._log(request)
        return self._json(
            {
                "type": "SUBMISSION",
                "status": "FAILED",
                "entrypoint": "x",
                "driver_exit_code": 130,
            }
        )

    async def _log(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("first line\n")
        if self.breaks:
            self.breaks -= 1
            assert request.transport is not None
            request.transport.abort()
            return socket
        if self.hangs_after_first_line:
            self.hangs = ("/",)
            await asyncio.Event().wait()
        await asyncio.sleep(self.pause_s)
        await socket.send_str("second line\n")
        await socket.close()
        return socket

    @staticmethod
    def _json(document: dict[str, Any]) -> web.Response:
        return web.Response(text=json.dumps(document), content_type="application/json")


@contextmanager
def running_jobs_server() -> Iterator[JobsServer]:
    """Give a server that runs in a thread."""
    server = JobsServer()
    loop = asyncio.new_event_loop()
    runner_is_up = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        runner_is_up.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert runner_is_up.wait(10), "the server does not start"
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
