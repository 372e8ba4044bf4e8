"""Exports in MLflow's registry: a version each, which mlflow.pyfunc loads without this program."""

import hashlib
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ucluster_tune.config.study import TrackingConfig
from ucluster_tune.errors import StudyError
from ucluster_tune.tracking.databases import with_password
from ucluster_tune.tracking.mlflow.store import (
    import_mlflow,
    refuse_unusable_store,
    resolve_tracking_uri,
    sqlite_path,
    store_errors,
)
from ucluster_tune.tracking.mlflow.tracker import Tracker

_CODE: Final = Path(__file__).with_name("jet_clusters.py")
_MANIFEST: Final = "export.json"
_RUNTIMES: Final = {"savedmodel": "tensorflow", "onnx": "onnxruntime"}
_DESCRIPTION_LENGTH: Final = 5000  # MLflow's own limit


def register(tracker: Tracker, run_id: str, name: str, kind: str, export: Path) -> str:
    """Put an export into the run that it is of, and into the registry; return its version.

    Args:
        tracker: the open store.
        run_id: of the trial.
        name: of the registered model, which is made where there is none.
        kind: `savedmodel` or `onnx`.
        export: its folder.

    Raises:
        StudyError: the store cannot be reached or written.
    """
    checksum = hashlib.sha256((export / _MANIFEST).read_bytes()).hexdigest()
    card = (export / "README.md").read_text(encoding="utf-8")
    with TemporaryDirectory(prefix="ucluster-tune-") as folder, store_errors(tracker.uri):
        model = Path(folder) / "model"
        _save(model, kind, export)
        return tracker.register_model(
            run_id, name, model, f"models/{kind}-{checksum[:8]}", card[:_DESCRIPTION_LENGTH]
        )


def _save(target: Path, kind: str, export: Path) -> None:
    import numpy as np

    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # uv brings no pip
    libraries = ("mlflow", "numpy", "pandas")
    with warnings.catch_warnings(action="ignore"):  # of its own types, and that it has no example
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types.schema import Schema, TensorSpec

        jets = TensorSpec(np.dtype(np.float32), (-1, -1, 4))
        mlflow.pyfunc.save_model(
            target,
            python_model=str(_CODE),
            artifacts={"export": str(export)},
            signature=ModelSignature(inputs=Schema([jets])),
            pip_requirements=[*(f"{n}=={version(n)}" for n in libraries), _RUNTIMES[kind]],
        )


def fetch_export(model_uri: str, studies_dir: Path, into: Path) -> Path:
    """Return the folder of an export that was fetched from the registry.

    Args:
        model_uri: such as `models:/quickstart/1`.
        studies_dir: the studies folder, whose store is asked where MLFLOW_TRACKING_URI names none.
        into: an empty folder.

    Raises:
        StudyError: the store cannot be reached, or has no such export.
    """
    name, _, number = model_uri.removeprefix("models:/").partition("/")
    name, _, alias = name.partition("@")
    if not name or bool(number) == bool(alias):
        raise StudyError(
            f"{model_uri}: name a version, such as models:/{name or 'quickstart'}/1, or an alias,"
            " such as models:/quickstart@best"
        )
    uri = with_password(resolve_tracking_uri(TrackingConfig().uri, studies_dir))
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise StudyError(
            f"{model_uri}: MLflow keeps nothing in {path}; name its store with"
            " MLFLOW_TRACKING_URI, or the studies folder with UCLUSTER_TUNE_STUDIES"
        )
    refuse_unusable_store(uri)
    import_mlflow()
    with store_errors(uri):
        from mlflow.artifacts import download_artifacts
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if alias:
            number = client.get_model_version_by_alias(name, alias).version
        source = client.get_model_version_download_uri(name, number)
        fetched = download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=uri)
    found = [manifest.parent for manifest in Path(fetched).rglob(_MANIFEST)]
    if not found:
        raise StudyError(f"{model_uri}: no export of ucluster-tune; name one of its versions")
    return found[0]
