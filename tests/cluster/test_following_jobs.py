"""What is told of a job while the way to its head breaks, or its head hangs; all on loopback."""

import gc
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.jobs_server import running_jobs_server
from ucluster_tune.cluster.launched.head import Head
from ucluster_tune.cluster.launched.jobs import ClusterJobs, Limits
from ucluster_tune.errors import MachineError

# Ray's client asks aiohttp so.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")

HEAD = Head(Path("ray_cluster.yaml"), "lab", "10.0.0.1", ("ssh", "me@10.0.0.1"), None, 8265)
SHORT = Limits(start_s=30.0, answer_s=0.4, silence_s=0.5, retry_s=0.0)
AT_ONCE = replace(SHORT, start_s=0.0)


@pytest.fixture
def head():
    """A Jobs interface that answers, breaks off or hangs as told."""
    with running_jobs_server() as server:
        yield server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray's client closes no websocket
        gc.collect()


def jobs_of(server, limits=SHORT):
    tunnel: Any = SimpleNamespace(port=server.port, open=lambda: None)
    return ClusterJobs(HEAD, tunnel, limits)


def followed(server):
    shown: list[str] = []
    return jobs_of(server).follow("wider-1", shown.append), "".join(shown)


def test_broken_connections_are_made_again_and_nothing_is_shown_twice(head):
    head.breaks = 3
    assert followed(head) == (130, "first line\nsecond line\n")


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_a_ray_of_the_environment_is_not_asked_in_place_of_the_head(head, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert followed(head)[0] == 130
    assert os.environ[variable] == "http://127.0.0.1:1"


def test_a_job_may_be_silent_for_longer_than_its_head(head):
    head.pause_s = 1.0
    assert followed(head) == (130, "first line\nsecond line\n")
    assert len([path for path in head.asked if path.endswith("/tail")]) == 1, "one connection"


def test_following_a_head_that_begins_to_hang_has_a_limit(head):
    head.hangs_after_first_line = True
    with pytest.raises(
        MachineError,
        match=r"the head of cluster lab \(10\.0\.0\.1\) gave no answer for 0\.5 s \(no answer"
        r" within 0\.4 s\); the search goes on .* 'ray job status wider-1'",
    ):
        followed(head)


def test_a_head_that_never_answers_is_told_after_the_limit(head):
    head.hangs = ("/",)
    with pytest.raises(MachineError) as caught:
        jobs_of(head, AT_ONCE)
    assert str(caught.value) == (
        "the Jobs interface of cluster lab (port 8265 of 10.0.0.1) does not answer: no answer"
        " within 0.4 s; look at `ray exec ray_cluster.yaml 'ray status'`"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_head_that_wants_another_token_is_told_at_once(head, status):
    head.refuses_with = status
    with pytest.raises(MachineError, match="cluster lab refuses this machine: ~"):
        jobs_of(head)
    assert head.asked == ["/api/version"]


@pytest.mark.parametrize("path", ["/api/packages", "/api/jobs/"])
def test_a_search_that_was_sent_without_an_answer_is_to_be_looked_for(head, path):
    jobs = jobs_of(head)
    head.hangs = (path,)
    with pytest.raises(MachineError) as caught:
        jobs.submit(["true"], {}, "wider")
    assert re.fullmatch(
        r"it is not known whether the head of cluster lab \(10\.0\.0\.1\) took the search"
        r" \(no answer within 0\.4 s\): look with `ray exec ray_cluster\.yaml 'ray job status"
        r" wider-[0-9a-f]{8}'` before you send it again",
        str(caught.value),
    )
    assert head.asked[-1].startswith(path)


def test_a_port_that_reads_like_a_refusal_is_none():
    closed: Any = SimpleNamespace(port=40312)
    with pytest.raises(MachineError, match="does not answer: Failed to connect"):
        jobs_of(closed, AT_ONCE)
