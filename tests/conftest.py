"""Settings for all tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.mlflow_store import with_store
from tests.postgresql_server import postgresql_server, postgresql_service
from tests.s3_server import s3_server, s3_service
from tests.small_study import write_small_dataset
from ucluster_tune.cluster.embedded import prepare_environment
from ucluster_tune.model.start import prepare_start

__all__ = ["postgresql_server", "postgresql_service", "s3_server", "s3_service", "with_store"]

prepare_start()  # read by TensorFlow when it is imported
# The cluster file that ships lies in the working directory, and other tests start Rays.
os.environ["UCLUSTER_TUNE_LOCAL"] = "1"
# Ray reads it once a process: what a test of tokens leaves behind would be half of the truth for
# all Rays that later ones start. What tests type runs in processes that do not get it.
os.environ["RAY_AUTH_MODE"] = "disabled"
prepare_environment()  # read by Ray when it is imported

# A shell that starts the tests in the background has SIGINT ignored, and so would their children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example's first call may import a library, and the machine may be busy.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def program_on_path(monkeypatch):
    """As for a user who activated the environment: commands to type are printed by name."""
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([folder, os.environ.get("PATH", "")]))


@pytest.fixture(scope="session")
def jets_parquet(tmp_path_factory):
    """A data set of some jets of the sample that ships."""
    return write_small_dataset(tmp_path_factory.mktemp("data") / "jets")
