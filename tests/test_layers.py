"""The layers import in one direction, read from the sources."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ucluster_tune"
LAYERS = (
    "errors",
    "storage",
    "config",
    "data",
    "model",
    "training",
    "trial",
    "models",
    "cluster",
    "study",
    "tracking",
    "search",
    "report",
    "cli",
)
# Who may import a heavy library at all; a layer or a module.
OWNERS = {
    "tensorflow": ("model", "training", "models", "tracking.mlflow.jet_clusters"),
    "horovod": ("training", "trial.processes"),
    "boto3": ("cluster.launched.launcher",),
    "ray": ("trial", "models.prediction", "cluster", "search"),
    "optuna": ("search", "tracking.dashboards", "report.page.importance"),
    "mlflow": ("tracking.mlflow",),
    "sqlalchemy": ("tracking",),
    "pyarrow": ("storage", "data"),
    "h5py": ("data.hls4ml",),
    "requests": ("storage.download", "cluster.launched.jobs_client"),
    "fastjet": ("data.simulation",),
    "pythia8mc": ("data.simulation",),
    "matplotlib": ("report",),
    "jinja2": ("report.page.writing",),
    "sklearn": ("training",),
    "scipy": ("training", "search.samplers.qmc", "report.pictures"),
    "psutil": ("cluster", "study", "trial"),
    "aiohttp": ("cluster.launched",),
    "click": ("cli",),
    "rich": ("cli", "report"),
    "yaml": ("config.yaml_text", "cluster.launched.launcher", "cluster.fitness.probe"),
}
IMPORTED_BY_NAME = ("fastjet", "pythia8mc")  # which need not be installed
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported_by(file):
    """All modules that a file imports, wherever in it, with their lines."""
    return tuple(_imports(file))


def _imports(file):
    for node in ast.walk(ast.parse(file.read_text(), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_within(module, owner):
    return module == owner or module.startswith(f"{owner}.")


def test_every_module_lies_in_a_layer():
    tops = {module_of(file).partition(".")[0] for file in FILES}
    assert tops == {"", "__main__", *LAYERS}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_layer_imports_only_those_before_it(file):
    layer = module_of(file).partition(".")[0]
    if layer in ("", "__main__"):
        return
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for name, line in imported_by(file):
        if name.startswith("ucluster_tune."):
            imported = name.split(".")[1]
            assert imported in (*allowed, "__version__"), f"{file}:{line} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_heavy_library_is_imported_only_where_it_belongs(file):
    module = module_of(file)
    for name, line in imported_by(file):
        owners = OWNERS.get(name.partition(".")[0])
        assert owners is None or any(is_within(module, owner) for owner in owners), (
            f"{file}:{line} imports {name}, which belongs to {', '.join(owners or ())}"
        )


@pytest.mark.parametrize(
    "owner", sorted({owner for owners in OWNERS.values() for owner in owners})
)
def test_an_owner_of_a_library_exists(owner):
    place = PACKAGE.joinpath(*owner.split("."))
    assert place.is_dir() or place.with_suffix(".py").is_file()


def test_every_owner_of_a_library_uses_it():
    used = {
        (module_of(file), name.partition(".")[0])
        for file in FILES
        for name, _ in imported_by(file)
    }
    unused = [
        (library, owner)
        for library, owners in OWNERS.items()
        for owner in owners
        if library not in IMPORTED_BY_NAME
        and not any(name == library and is_within(module, owner) for module, name in used)
    ]
    assert unused == []


def test_an_import_against_the_direction_is_seen(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from ucluster_tune.search import driver\n    import ray.tune\n")
    assert ("ucluster_tune.search", 2) in list(imported_by(file))
    assert ("ray.tune", 3) in list(imported_by(file))
