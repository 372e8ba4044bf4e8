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
        (ray_internals.BEFORE_FAILURE, "tune/experiment/trial.py"),
        (ray_internals.TEMPORARY_FOLDER, "_private/worker.py"),
        (ray_internals.NODE_ADDRESS, "_private/worker.py"),
        (ray_internals.LOW_ON_MEMORY, RAYLET),
        (ray_internals.WITH_ITS_NODE, HEAD),
    ],
)
def test_name_is_known_to_the_installed_ray(name, file):
    assert name.encode() in (RAY / file).read_bytes()


VARIABLES = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "_private/ray_constants.py",
    "RAY_USAGE_STATS_ENABLED": "_common/usage/usage_constants.py",
    "RAY_ENABLE_AUTO_CONNECT": "_private/auto_init_hook.py",
    "RAY_AIR_NEW_OUTPUT": "tune/experimental/output.py",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "tune/utils/callback.py",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "tune/execution/tune_controller.py",
    "TUNE_DISABLE_SIGINT_HANDLER": "tune/tune.py",
    "TUNE_GLOBAL_CHECKPOINT_S": "tune/execution/tune_controller.py",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "_private/accelerators/__init__.py",
}


@pytest.mark.parametrize("name", ray_internals.ENVIRONMENT)
def test_variable_is_read_by_the_installed_ray(name):
    assert name in (RAY / VARIABLES[name]).read_text()


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
