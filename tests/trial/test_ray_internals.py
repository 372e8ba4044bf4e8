"""Each name of Ray's that is not public is one of the Ray that is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from ray._private.node import Node
from ray.job_submission import JobSubmissionClient

from ucluster_tune.trial.processes import ray_internals

SPEC = find_spec("ray")
assert SPEC is not None and SPEC.origin is not None
RAY = Path(SPEC.origin).parent
RAYLET, HEAD = RAY / "core/src/ray/raylet/raylet", RAY / "core/src/ray/gcs/gcs_server"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (ray_internals.HEAD_RESOURCE.rpartition(":")[2], "_common/constants.py"),
        (ray_internals.ADDRESS_FILE.name, "_common/utils.py"),
        (ray_internals.LOOPBACK_ALONE, "_private/ray_constants.py"),
        (ray_internals.N_TRIES_TO_JOIN, "_private/ray_constants.py"),
        (
            ray_internals.LAST_BEFORE_OUTPUT_OF_JOB.strip(),
            "dashboard/modules/job/job_supervisor.py",
        ),
        ("Runtime env is setting up", "dashboard/modules/job/job_manager.py"),
        (ray_internals.LOW_ON_MEMORY, RAYLET),
        (ray_internals.WITH_ITS_NODE, HEAD),
    ],
)
def test_name_is_known_to_the_installed_ray(name, file):
    assert name.encode() in (RAY / file).read_bytes()


def test_the_node_of_a_head_starts_each_unasked_process_by_itself():
    used = Node.start_head_processes.__code__.co_names + Node.start_ray_processes.__code__.co_names
    assert set(ray_internals.UNASKED_STARTS) <= set(used)


def test_process_of_a_head_has_its_name():
    assert HEAD.name == ray_internals.HEAD_PROCESS
    assert HEAD.is_file()


@pytest.mark.parametrize("logger", ray_internals.TALKATIVE_LOGGERS)
def test_logger_is_that_of_a_module(logger):
    assert (RAY / f"{logger.replace('.', '/')}.py").is_file()


def test_client_of_jobs_has_what_ours_overrides():
    assert callable(JobSubmissionClient._do_request)
    inits = [vars(of)["__init__"] for of in JobSubmissionClient.__mro__ if "__init__" in vars(of)]
    names = {name for init in inits[:-1] for name in init.__code__.co_names}
    assert {"_address", "_headers"} <= names
