"""Horovod as published, compiled against the one TensorFlow that is installed beside it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HEADERS = ROOT / "horovod_headers"


@pytest.fixture(scope="module")
def project():
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked():
    """The packages of uv.lock by name; some have a version for each of several Pythons."""
    packages: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        packages.setdefault(package["name"], []).append(package)
    return packages


def test_one_tensorflow_is_installed_and_compiled_against(project, locked):
    extras = project["project"]["optional-dependencies"]
    (cpu,), (gpu,) = extras["cpu"], extras["gpu"]
    assert cpu.replace("tensorflow-cpu", "tensorflow[and-cuda]") == gpu
    assert cpu in project["tool"]["uv"]["extra-build-dependencies"]["horovod"]
    for name in ("tensorflow", "tensorflow-cpu"):
        (package,) = locked[name]
        assert cpu == f"tensorflow-cpu=={package['version']}"
    settings = project["tool"]["uv"]["config-settings-package"]["horovod"]["--build-option"]
    assert settings == ["build", f"--build-base=build/{cpu.replace('-cpu==', '-')}"]


def test_horovod_is_the_published_source_and_nothing_else(locked, project):
    (horovod,) = locked["horovod"]
    assert horovod["source"] == {"registry": "https://pypi.org/simple"}
    assert horovod["sdist"]["url"].endswith("/horovod-0.28.1.tar.gz")
    assert "wheels" not in horovod
    assert set(project["tool"]["uv"]["sources"]) == {"horovod-headers"}
    assert "horovod-headers" not in locked  # of the build alone


def test_the_headers_for_its_build_hold_no_code():
    files = {path.name: path for path in HEADERS.iterdir()}
    assert set(files) == {"pyproject.toml", "xla_builder.h"}
    for line in files["xla_builder.h"].read_text().splitlines():
        assert re.fullmatch("//.*|", line)
    target = tomllib.loads(files["pyproject.toml"].read_text())["tool"]["hatch"]["build"]
    assert target["targets"]["wheel"]["force-include"] == {
        "xla_builder.h": "tensorflow/include/tensorflow/compiler/xla/client/xla_builder.h"
    }


def test_numpy_and_keras_are_of_today():
    assert tuple(map(int, version("numpy").split(".")[:2])) >= (2, 1)
    assert version("keras").startswith("3.")


START = """
import sys
from ucluster_tune.model.start import prepare_start
prepare_start()
from ucluster_tune.training.group import HorovodGroup
import tensorflow as tf
print(HorovodGroup().sum_tensor(tf.ones(2), "two").numpy(), {"keras", "sklearn"} & {*sys.modules})
"""


@pytest.mark.slow
def test_tensorflow_and_horovod_start_without_keras_and_without_a_word():
    """As in every process of ours; Keras, with scikit-learn in it, is half of such a start."""
    done = subprocess.run(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env={"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[1. 1.] set()\n", "")
