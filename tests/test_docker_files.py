"""The files of docker/, as far as they can be looked at where no Docker engine runs.

docs/images.md says how the images were built and tried by hand.
"""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.scripts import scripts as ray_commands

from ucluster_tune.tracking.databases import with_password

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
OURS = ("head", "worker", "gpu_worker", "mlflow")


def instructions():
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [
        line
        for line in (DOCKER / "Dockerfile").read_text().splitlines()
        if not line.startswith("#")
    ]
    text = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def copied():
    """All that the Dockerfile takes from the checkout."""
    for kind, rest in instructions():
        if kind == "COPY" and not rest.startswith("--from="):
            yield from rest.split()[:-1]


def is_sent(path):
    """Whether a file of the checkout reaches the builder: the last line that fits decides."""
    is_left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, negated = line.lstrip("!"), line.startswith("!")
        parents = [path, *(str(parent) for parent in Path(path).parents)][:-1]
        names = [pattern, pattern.removeprefix("**/")]
        if any(fnmatch.fnmatchcase(parent, name) for parent in parents for name in names):
            is_left_out = not negated
    return not is_left_out


@pytest.fixture(scope="module")
def compose():
    """compose.yaml with the defaults of its variables."""
    text = (DOCKER / "compose.yaml").read_text()
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert "${" not in text
    return yaml.safe_load(text)


@pytest.fixture
def prepared(tmp_path):
    """What `prepare.sh` makes, twice over."""
    shutil.copytree(DOCKER, tmp_path / "docker", ignore=shutil.ignore_patterns("secrets", ".env"))
    folder = tmp_path / "docker"
    first = None
    for _ in range(2):
        subprocess.run([folder / "prepare.sh"], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
        assert first in (None, made)  # what is there stays
        first = made
    return folder


def test_hadolint_and_shellcheck_find_nothing():
    files = {"hadolint": [DOCKER / "Dockerfile"], "shellcheck": DOCKER.glob("*.sh")}
    for program, checked in files.items():
        command = [program, *map(str, checked)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_all_that_is_copied_exists_and_reaches_the_builder():
    sources = set(copied())
    needed = {"uv.lock", "pyproject.toml", "horovod_headers", "ucluster_tune", "search_spaces"}
    assert needed <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert is_sent(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".env",
        "docker/.env",
        "docker/secrets/ray_token",
        "auth_token",
        "id_ed25519",
        "studies/jets/record.jsonl",
        "ray_cluster.yaml",
        "tests/conftest.py",
        "scripts/prepare_aws.py",
        "ucluster_tune/__pycache__/errors.cpython-311.pyc",
        ".venv/bin/python",
    ],
)
def test_nothing_else_reaches_the_builder(path):
    assert not is_sent(path)


def test_versions_are_those_of_the_lock_file():
    commands = [rest for kind, rest in instructions() if kind in ("RUN", "ENV")]
    syncs = [command for command in commands if "SYNC" in command]
    assert "SYNC=" in syncs[0]
    assert "uv sync --frozen --no-dev" in syncs[0]
    assert all(command.startswith(("SYNC=", "$SYNC --extra ")) for command in syncs)
    assert [c for c in commands if "pip install" in c and '"uv==$version"' not in c] == []


def test_both_images_are_smoke_tested_and_run_as_a_user():
    stages: dict[str, list[tuple[str, str]]] = {}
    stage = ""
    for kind, rest in instructions():
        if kind == "FROM":
            stage = rest.split()[-1]
        stages.setdefault(stage, []).append((kind, rest))
    for target in ("cpu", "gpu"):
        assert stages[target][0] == ("FROM", f"runtime AS {target}")
        assert stages[target][-1] == ("RUN", '["smoke_test.sh"]')
    users = [rest for kind, rest in stages["runtime"] if kind == "USER"]
    assert users == ["1000:1000"]
    smoke_test = (DOCKER / "smoke_test.sh").read_text()
    for checked in ("ucluster-tune --help", "horovodrun --check-build", "import tensorflow"):
        assert checked in smoke_test


def test_each_service_is_bounded_watched_and_whole(compose):
    for name, service in compose["services"].items():
        assert service["image"].rpartition(":")[2] not in ("", "latest"), name
        limits = service["deploy"]["resources"]["limits"]
        assert {"memory", "pids"} <= set(limits), name
        assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"]), name
        assert service["restart"] == "unless-stopped", name
        assert service["networks"] == ["inside"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"]
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
        for config in service.get("configs", []):
            assert config["source"] in compose["configs"]
    for name in OURS:
        service = compose["services"][name]
        target = "gpu" if name == "gpu_worker" else "cpu"
        assert service["image"] == f"ucluster-tune:{target}"  # as it is built
        assert service["cap_drop"] == ["ALL"]
        assert service["pull_policy"] == "never"
        assert not service["user"].startswith("0")


def test_ports_are_on_the_loopback_and_the_database_has_none(compose):
    ports = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert ports == {"head": ["127.0.0.1:8265:8265"], "mlflow": ["127.0.0.1:5000:5000"]}


def test_every_part_of_ray_wants_the_token_and_only_the_driver_knows_the_database(compose):
    for name in ("head", "worker", "gpu_worker"):
        service = compose["services"][name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert ("pgpass" in service["secrets"]) == (name == "head")
        words = service["command"]
        is_head = words[:3] == ["ray", "start", "--head"]
        assert is_head == (name == "head")
        assert is_head or words[2].startswith("exec ray start --address=")
        options = [word for word in words if word.startswith("--")]
        joining = [] if is_head else ["--address=10.77.0.11:6379"]
        ray_commands.start.make_context("start", [*joining, *options])  # refuses unknown ones


def test_the_secrets_are_made_and_fit_together(compose, prepared, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    secrets = prepared / "secrets"
    named = {entry["file"] for entry in compose["secrets"].values()}
    assert named == {f"secrets/{path.name}" for path in secrets.iterdir()}
    for path in [secrets, *secrets.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0
    assert re.fullmatch("[0-9a-f]{64}", (secrets / "ray_token").read_text())
    password = (secrets / "postgresql_password").read_text()
    assert len(password) == 64
    monkeypatch.setenv("PGPASSFILE", str(secrets / "pgpass"))
    urls = [
        compose["services"]["head"]["environment"]["UCLUSTER_TUNE_OPTUNA_STORAGE"],
        compose["services"]["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"],
    ]
    for url in urls:
        assert f":{password}@" in with_password(url)
    # Those who run the containers own the files, and are never root.
    variables = dict(line.split("=") for line in (prepared / ".env").read_text().splitlines())
    assert int(variables["UCLUSTER_TUNE_UID"]) == (secrets / "pgpass").stat().st_uid
    assert variables["UCLUSTER_TUNE_UID"] != "0"


def test_git_does_not_take_the_secrets():
    ignored = subprocess.run(
        ["git", "check-ignore", "docker/secrets/ray_token", "docker/.env"],
        cwd=ROOT,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ignored.returncode == 128:
        pytest.skip("no git checkout")
    assert ignored.stdout.split() == ["docker/secrets/ray_token", "docker/.env"]
