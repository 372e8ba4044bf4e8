"""What the error of a worker tells of the trial; only the errors of libraries are made up."""

import subprocess
import sys

import pytest
import tensorflow as tf
from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError, RayTaskError

from tests import small_study
from ucluster_tune.errors import DataError, TrainingError
from ucluster_tune.trial.failures import OutOfMemoryError, WorkerSilentError, kind_of
from ucluster_tune.trial.processes.failures import failure_of_call, told_by_type

# As Gloo tells it, in the middle of an operation: not a word of Horovod.
RESET = (
    "Graph execution error:\n\n[/build/gloo/transport/tcp/pair.cc:589] Read error"
    " [127.0.0.1]:49344: Connection reset by peer\n [[{{node step}}]]"
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (tf.errors.UnknownError(None, None, RESET), "worker_lost"),
        (tf.errors.UnknownError(None, None, "Horovod has been shut down"), "worker_lost"),
        (tf.errors.UnknownError(None, None, "CUDNN_STATUS_NOT_SUPPORTED"), "program"),
        (tf.errors.InvalidArgumentError(None, None, "shapes: [3,4] vs. [4,3]"), "program"),
        (tf.errors.ResourceExhaustedError(None, None, "failed to allocate"), "memory"),
        (MemoryError(), "memory"),
        (OSError(28, "No space left on device", "workers.log"), "checkpoint"),
        (OSError(2, "No such file or directory", "a"), "program"),
        (RuntimeError(RESET), "program"),
        (TrainingError("nan"), "training"),
    ],
)
def test_error_of_a_worker_is_of_its_kind(error, kind):
    with pytest.raises(Exception) as raised, told_by_type(1):
        raise error
    told = raised.value
    assert kind_of(told).name == kind
    if kind == "program":
        assert str(told).startswith("worker 1 failed:\nTraceback")
        assert ", in test_error_of_a_worker_is_of_its_kind" in str(told)
        assert str(told).splitlines()[-1].endswith(str(error).splitlines()[-1])


def test_memory_that_ran_out_is_told_in_one_line_with_what_to_lower():
    error = tf.errors.ResourceExhaustedError(None, None, "Error\nOOM when allocating [9]\n x")
    expected = r"^worker 0 .*global_batch_size.*\(OOM when allocating \[9\]\)$"
    with pytest.raises(OutOfMemoryError, match=expected), told_by_type(0):
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RayTaskError("begin", "a page of traceback", DataError("cut")), "data"),
        (RayTaskError("begin", "a page of traceback", ModuleNotFoundError("none")), "program"),
        (ActorDiedError(), "worker_lost"),
        (ActorUnavailableError("no answer", None), "worker_lost"),
        (RaySystemError("away"), "worker_lost"),
    ],
)
def test_error_of_ray_about_a_worker_is_of_its_kind(error, kind):
    told = failure_of_call(error, 1)
    assert kind_of(told).name == kind
    assert isinstance(told, WorkerSilentError) == isinstance(error, ActorUnavailableError)


# Ray ends a process where memory runs low: here as soon as one percent is used.
LOW_ON_MEMORY = """
import ray
from ucluster_tune.trial.failures import kind_of
from ucluster_tune.trial.processes.failures import failure_of_call

@ray.remote
class Worker:
    def wait(self):
        import threading
        threading.Event().wait()

ray.init(num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1")
worker = Worker.remote()
for _ in range(2):  # amid a call, and at the next one
    try:
        ray.get(worker.wait.remote(), timeout=60)
    except ray.exceptions.RayError as error:
        print(kind_of(failure_of_call(error, 0)).name, failure_of_call(error, 0))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_worker_that_ray_ends_for_want_of_memory_is_of_that_kind():
    result = subprocess.run(
        [sys.executable, "-c", LOW_ON_MEMORY],
        env=small_study.environment()
        | small_study.ON_LOOPBACK
        | {
            "RAY_memory_usage_threshold": "0.01",
            "RAY_memory_monitor_refresh_ms": "100",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    told = [line for line in result.stdout.splitlines() if line.startswith("memory")]
    assert len(told) == 2
    for line in told:
        assert line.startswith("memory worker 0 was ended: its machine ran low on memory; lower ")
