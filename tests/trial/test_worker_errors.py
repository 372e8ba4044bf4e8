"""What the error of a worker tells of the trial; only the errors of libraries are made up."""

import pytest
from ray.exceptions import RayTaskError

from ucluster_tune.trial.failures import kind_of
from ucluster_tune.trial.processes.workers import _told

# As Gloo tells it, in the middle of an operation: not a word of Horovod.
RESET = (
    "Graph execution error:\n\n[/build/gloo/transport/tcp/pair.cc:589] Read error"
    " [127.0.0.1]:49344: Connection reset by peer\n [[{{node step}}]]"
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(RESET), "worker_lost"),
        (RuntimeError("Horovod has been shut down"), "worker_lost"),
        (RuntimeError("Incompatible shapes: [3,4] vs. [4,3]"), "program"),
        (MemoryError(), "memory"),
        (OSError(28, "No space left on device", "workers.log"), "checkpoint"),
    ],
)
def test_error_of_a_worker_is_of_its_kind(error, kind):
    assert kind_of(_told(RayTaskError("run_epoch", "a page of traceback", error), 1)).name == kind
