"""What is shown of a job while the way to its head breaks and is made again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from ucluster_tune.cluster import jobs
from ucluster_tune.cluster.launcher import Head
from ucluster_tune.errors import MachineError

HEAD = Head(Path("ray_cluster.yaml"), "lab", "10.0.0.1", ("ssh", "me@10.0.0.1"), None, 8265)


class Interface:
    """Ray's client of a head that breaks off, as often as told, before it tells all."""

    def __init__(self, breaks: list[Exception]) -> None:
        self.breaks = breaks

    async def tail_job_logs(self, _job_id: str) -> Any:
        yield "first line\n"
        if self.breaks:
            raise self.breaks.pop(0)
        yield "second line\n"

    def get_job_info(self, _job_id: str) -> Any:
        return SimpleNamespace(status="FAILED", driver_exit_code=130)


@pytest.fixture
def follow(monkeypatch):
    """Follows a job through an interface that breaks."""
    monkeypatch.setattr(jobs, "_RETRY_S", 0.0)
    tunnel: Any = SimpleNamespace(port=1, open=lambda: None)

    def follow_it(*breaks: Exception) -> tuple[int, str]:
        shown: list[str] = []
        interface = Interface(list(breaks))
        monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda _: interface)
        return jobs.ClusterJobs(HEAD, tunnel).follow("wider-1", shown.append), "".join(shown)

    return follow_it


def test_broken_connections_are_made_again_and_nothing_is_shown_twice(follow):
    code, shown = follow(
        aiohttp.ServerDisconnectedError(), RuntimeError("closed"), ConnectionResetError()
    )
    assert (code, shown) == (130, "first line\nsecond line\n")


def test_silence_has_a_limit(follow, monkeypatch):
    monkeypatch.setattr(jobs, "_SILENCE_TIMEOUT_S", -1.0)
    with pytest.raises(MachineError, match=r"cluster lab gave no answer .* the search goes on"):
        follow(aiohttp.ServerDisconnectedError())
