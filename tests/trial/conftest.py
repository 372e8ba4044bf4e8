"""A Ray for the tests of workers."""

import gc
import warnings

import pytest

from tests.gate import Gate
from ucluster_tune.cluster.embedded import embedded_ray, prepare_environment


@pytest.fixture(scope="module")
def ray_on_two_cpus(tmp_path_factory):
    """Ray, whose workers find this package and log nothing here; gives their gate."""
    prepare_environment()
    gate = Gate(tmp_path_factory.mktemp("gate"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gate.variables.items():
            patch.setenv(name, value)
        with embedded_ray(2):
            yield gate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its pipes open
            gc.collect()
