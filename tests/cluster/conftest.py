"""Settings for the tests of clusters."""

import os

import pytest

_RAY = """
import sys
from types import SimpleNamespace
sys.modules["ray._private.node"] = SimpleNamespace(Node=type("Node", (), {{}}))
def init(**options):
    {init}
def get_runtime_context():
    return SimpleNamespace(gcs_address="127.0.0.1:1")
def shutdown():
    pass
"""


@pytest.fixture
def ray_that_starts(tmp_path, monkeypatch):
    """Give processes that are started later another Ray, whose start is the line that is told."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def write(line):
        (tmp_path / "ray.py").write_text(_RAY.format(init=line))

    return write
