"""What of Ray's is not public and used all the same; a test looks each up in the Ray installed.

Three more lie where they must: the names that `cluster.launched.jobs_client` overrides, those of
Tune's trials in `search.process_loss`, and those of its controller in `search.verdicts`.
"""

import re
from pathlib import Path
from typing import Final

# Ray's head has a resource of this name, and nothing else tells a node that it is the head.
HEAD_RESOURCE: Final = "node:__internal_head__"
# `ray start --head` leaves the address here, below Ray's temporary folder, for `auto`.
ADDRESS_FILE: Final = Path("ray") / "ray_current_cluster"
# The process of a head, by which `ps` on another machine knows whether Ray runs there.
HEAD_PROCESS: Final = "gcs_server"
# With "0" Ray stays on 127.0.0.1 where it is told that address; it takes another one otherwise.
LOOPBACK_ALONE: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# So often Ray looks for a head that does not answer, which takes most of a minute each time.
N_TRIES_TO_JOIN: Final = "RAY_NUM_REDIS_GET_RETRIES"
# What `ray.init` takes beside the arguments that it documents: where its files go, and the address
# of the node that it starts.
TEMPORARY_FOLDER: Final = "_temp_dir"
NODE_ADDRESS: Final = "_node_ip_address"
# What Ray and Tune read when they are imported; some of it is documented nowhere.
ENVIRONMENT: Final = {
    # Under `uv run` Ray would build the environment anew for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A thread that comes too late must get an error, not a Ray of its own.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Tune's own tables and log files: ours are better informed.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that failed ends with a result that has no accuracy.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A search ends in its own order at Ctrl-C.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The journal is what a search goes on from: Tune's own state of all trials, which takes the
    # longer the more there are, is written at the start and at the end alone.
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    # Ray must not blank CUDA_VISIBLE_DEVICES of tasks that ask for no GPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# How the node of a head starts an autoscaler, a dashboard, and what shows logs in a terminal.
UNASKED_STARTS: Final = ("start_monitor", "start_api_server", "start_log_monitor")
# They tell of uploads and websockets, below the logger `ray`.
TALKATIVE_LOGGERS: Final = (
    "dashboard.modules.dashboard_sdk",
    "dashboard.modules.job.sdk",
    "_private.runtime_env.packaging",
)
# Ray's own lines before a job's output, which has no other mark; the last one begins so.
BEFORE_OUTPUT_OF_JOB: Final = re.compile(
    r"\S+ \S+\tINFO job_manager\.py:|Runtime env is setting up"
)
LAST_BEFORE_OUTPUT_OF_JOB: Final = "Running entrypoint for job "

# Two things are told in words alone: that a process was ended for want of memory, since Tune keeps
# no errors but those of tasks and actors; and whether an actor's node died with it.
LOW_ON_MEMORY: Final = "low on memory"
WITH_ITS_NODE: Final = "its node has died"
# Each failure of a trial begins so in the file to which Tune adds them.
BEFORE_FAILURE: Final = "Failure #"


def start_no_more_than_needed() -> None:
    """Have the Ray that this process starts do without the processes that nobody asks anything of.

    They take a third of the time in which Ray starts.
    """
    from ray._private.node import Node

    for name in UNASKED_STARTS:
        setattr(Node, name, lambda _node, **_options: None)
