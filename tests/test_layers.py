"""The layers import in one direction, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ucluster_tune"
LAYERS = (
    "errors",
    "config",
    "data",
    "model",
    "training",
    "trial",
    "cluster",
    "search",
    "report",
    "cli",
)
# Who may import a heavy library at all; a layer or a module.
OWNERS = {
    "tensorflow": ("data.batches", "model", "training"),
    "horovod": ("training", "trial"),
    "boto3": ("cluster.launcher",),
    "ray": ("trial", "cluster", "search"),
    "optuna": ("search",),
    "mlflow": ("search", "cli.ui"),
    "pyarrow": ("data",),
    "h5py": ("data.hls4ml",),
    "requests": ("data.download", "cluster.jobs_client"),
    "tenacity": ("data.download",),
    "fastjet": ("data.simulation",),
    "pythia8mc": ("data.simulation",),
    "matplotlib": ("report",),
    "sklearn": ("training", "trial", "search", "report"),
    "click": ("cli",),
    "rich": ("cli", "report"),
    "yaml": ("config.yaml_text", "cluster.launcher", "cluster.probe"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(file):
    """All modules that a file imports, wherever in it, with their lines."""
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


def test_an_import_against_the_direction_is_seen(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from ucluster_tune.search import paths\n    import ray.tune\n")
    assert ("ucluster_tune.search", 2) in list(imported_by(file))
    assert ("ray.tune", 3) in list(imported_by(file))
